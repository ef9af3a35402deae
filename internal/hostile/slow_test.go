package hostile_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/contract"
	"github.com/go-chime/chime/internal/raw"
)

// Clients that do not read. In a bubble no time passes while anybody can go
// on: what takes 0 s there waited for nobody.

// victims open a connection, join hall:1 as "victim", and read no more.
var victims = map[string]func(*testing.T, *raw.Site){
	"websocket/phoenix": func(t *testing.T, s *raw.Site) { s.Phoenix(t).Join("hall:1", "victim") },
	"websocket/chime": func(t *testing.T, s *raw.Site) {
		ws, _ := s.Chime(t)
		ws.Join("hall:1", "victim")
	},
	"websocket/amber": func(t *testing.T, s *raw.Site) {
		// It is told nothing of its join, so the test finds out by another way.
		ws := s.Upgrade(t, "/socket").Opened()
		ws.Text(`{"event":"join","topic":"hall:1","payload":{"as":"victim"}}`)
		ws.Text(`{"event":"message","topic":"hall:1","subject":"block"}`)
		s.Hall.WantBegun(t, "victim")
		s.Hall.Release <- struct{}{}
	},
	"stream/chime": func(t *testing.T, s *raw.Site) {
		es, secret := s.Half(t)
		s.Post(t, secret, `{"first":1,"frames":[["1","1","hall:1","phx_join",{"as":"victim"}]]}`, "Connection: close").WantApplied(t, 1)
		es.Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	},
	"stream/bare": func(t *testing.T, s *raw.Site) {
		s.Bare(t, "join=hall:1&as=victim").Want(`["1","1","hall:1","phx_reply",{"status":"ok","response":{}}]`)
	},
}

func TestReaderThatNeverReadsIsEndedAndDelaysNobody(t *testing.T) {
	const size = 1000
	limits := chime.WithLimits(chime.Limits{QueueBytes: 32 * size})
	for name, open := range victims {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				w.Es.Early()
				synctest.Wait()
				before := ours()
				open(t, s)
				began := time.Now()
				sent := 0
				for ; len(s.Hall.Left) == 0; sent++ {
					if sent > 100 {
						t.Fatalf("%d broadcasts of %d bytes, and the reader that reads none of them is still there", sent, size)
					}
					payload := fmt.Sprintf(`{"n":%d,"a":"%s"}`, sent, strings.Repeat("x", size))
					if err := s.Live.Broadcast(t.Context(), "hall:1", "say", rawJSON(payload)); err != nil {
						t.Fatal(err)
					}
					w.Hears(`[null,null,"hall:1","say",` + payload + `]`)
					synctest.Wait()
				}
				s.Hall.WantLeft(t, "hall:1", "victim", "slow")
				w.IsWell()
				if took := time.Since(began); took != 0 {
					t.Errorf("somebody waited for %s, want nobody to wait", took)
				}
				if sent < 20 {
					t.Errorf("ended after %d broadcasts, want about 32: its queue has room for them", sent)
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if after := ours(); after > before {
					t.Errorf("%d goroutines of chime 5 s later, want the %d from before", after, before)
				}
				w.IsWell()
				s.Hall.WantNobodyLeft(t)
			})
		})
	}
}

// A client joins again and again for all of a history, and reads nothing. What
// was read for a join that is over is not kept, nor is the topic it was in.
func TestRejoinsOfAReaderThatNeverReadsHoldLittle(t *testing.T) {
	s := raw.NewSite(t, chime.WithStore(contract.OpenFile(t)))
	const messages, size, joins = 100, 10_000, 200
	for n := range messages {
		if err := s.Live.Broadcast(t.Context(), "book:1", "said", map[string]string{"n": fmt.Sprint(n), "pad": strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	ws := s.Phoenix(t)
	for ref := range joins {
		ws.Text(fmt.Sprintf(`["%d","%d","book:1","phx_join",{"as":"victim","@last":500}]`, ref, ref))
		if ref > 0 {
			s.Hall.WantLeft(t, "book:1", "victim", "replaced")
		}
	}
	const most = 16 << 20 // the joins were answered with 200 MB, were they read
	if after := heap(); after > before+most {
		t.Errorf("%d joins that nobody reads hold %d bytes, want less than %d", joins, after-before, most)
	}
	ws.Conn.Close()
	s.Hall.WantLeft(t, "book:1", "victim", "vanished")
}

// A client asks for large pages of older messages, one after the other, and reads none.
func TestRequestsForOlderMessagesThatNobodyReadsHoldLittle(t *testing.T) {
	s := raw.NewSite(t, chime.WithStore(contract.OpenFile(t)))
	const messages, size, requests = 100, 1_000, 400
	for n := range messages {
		if err := s.Live.Broadcast(t.Context(), "book:1", "said", map[string]string{"n": fmt.Sprint(n), "pad": strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
	}
	w := s.Witness(t)
	ws, _ := s.Chime(t)
	ws.Text(`["1","1","book:1","phx_join",{"as":"victim","@last":0}]`)
	ws.Next()
	before := heap()
	for ref := range requests {
		ws.Text(fmt.Sprintf(`["1","r%d","book:1","@history",{"limit":500}]`, ref))
	}
	other, _ := s.Chime(t)
	other.Text(`["1","1","book:1","phx_join",{"as":"other","@last":1}]`)
	other.Next()
	other.Next()
	other.Text(`["1","2","book:1","@history",{"limit":1}]`)
	if got := other.Next(); !strings.HasPrefix(got, `["1","2","book:1","phx_reply",{"status":"ok"`) {
		t.Errorf("got %.100s, want a page", got)
	}
	const most = 4 << 20 // the pages have 44 MB
	for range 20 {       // in which the server has the time to make them
		if w.IsWell(); heap() > before+most {
			t.Fatalf("%d requests for pages that nobody reads hold %d bytes, want less than %d", requests, heap()-before, most)
		}
	}
	for ref := range requests { // and all of them, once it does
		if got, want := ws.Next(), fmt.Sprintf(`["1","r%d","book:1","phx_reply",{"status":"ok"`, ref); !strings.HasPrefix(got, want) {
			t.Fatalf("got %.100s, want %s", got, want)
		}
	}
}

// ours counts the goroutines that run code of chime's.
func ours() int {
	stacks := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "/chime/internal/server.") || strings.Contains(stack, "/chime/internal/clientsocket.") || strings.Contains(stack, "/chime/channel.") {
			n++
		}
	}
	return n
}

// rawJSON is JSON that is sent as it is.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestAnswersThatNobodyReadsAreBoundedToo: not only what others say fills a
// queue, and not only payloads are large.
func TestAnswersThatNobodyReadsAreBoundedToo(t *testing.T) {
	big := strings.Repeat("x", 10_000)
	for name, ask := range map[string]string{
		"a large topic":     `["1","2","` + big + `","say",{}]`,
		"a large echo":      `["1","2","hall:1","echo","` + big + `"]`,
		"a heartbeat's ref": `[null,"` + big[:255] + `","phoenix","heartbeat",{}]`,
	} {
		t.Run(name, func(t *testing.T) {
			limits := chime.WithLimits(chime.Limits{QueueBytes: 100_000})
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				w := s.Witness(t)
				ws := s.Phoenix(t).Join("hall:1", "victim")
				answers := 0
				for ; len(s.Hall.Left) == 0; answers++ {
					if answers*len(ask) > 400_000 {
						t.Fatalf("%d answers of more than %d bytes wait in a queue of 100 kB", answers, len(ask))
					}
					ws.Text(ask)
					synctest.Wait()
				}
				s.Hall.WantLeft(t, "hall:1", "victim", "slow")
				w.IsWell()
			})
		})
	}
}

// TestPingsWithoutReadingPilePongsUpForNobody: pongs that are not read are
// dropped, and the first that blocks ends the connection after a while.
func TestPingsWithoutReadingPilePongsUpForNobody(t *testing.T) {
	raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
		w := s.Witness(t)
		ws := s.Phoenix(t).Join("hall:1", "victim")
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		ping := raw.Masked(raw.Fin|raw.OpPing, strings.Repeat("x", 125))
		for range 10_000 { // 1.25 MB
			ws.Write(ping)
		}
		w.IsWell()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<10 {
			t.Errorf("%d bytes of memory are held for pongs that nobody reads", grown)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("somebody waited for %s, want nobody to wait", took)
		}
		s.Hall.WantLeft(t, "hall:1", "victim", "slow")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("ended after %s, want 10s", took)
		}
		w.IsWell()
	})
}

// TestShutdownEndsReadersThatNeverRead within its bound.
func TestShutdownEndsReadersThatNeverRead(t *testing.T) {
	for name, open := range victims {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, nil, func(t *testing.T, s *raw.Site) {
				open(t, s)
				for range 100 {
					if err := s.Live.Broadcast(t.Context(), "hall:1", "say", map[string]string{"a": strings.Repeat("x", 5000)}); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				if err := s.Live.Shutdown(ctx); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				s.Hall.WantLeft(t, "hall:1", "victim", "drain")
			})
		})
	}
}

// TestReaderThatNeverReadsOverTCP is the same with real sockets and their
// buffers.
func TestReaderThatNeverReadsOverTCP(t *testing.T) {
	const size = 50_000
	for name, open := range victims {
		t.Run(name, func(t *testing.T) {
			s := raw.NewSite(t, chime.WithLimits(chime.Limits{QueueBytes: 2 * size}))
			w := s.Witness(t)
			open(t, s)
			payload := `{"a":"` + strings.Repeat("x", size) + `"}`
			for sent := 0; len(s.Hall.Left) == 0; sent++ {
				if sent > 1000 { // 50 MB: more than the buffers of both ends
					t.Fatalf("%d broadcasts of %d bytes, and the reader that reads none of them is still there", sent, size)
				}
				if err := s.Live.Broadcast(t.Context(), "hall:1", "say", rawJSON(payload)); err != nil {
					t.Fatal(err)
				}
				w.Hears(`[null,null,"hall:1","say",` + payload + `]`)
			}
			s.Hall.WantLeft(t, "hall:1", "victim", "slow")
			w.IsWell()
			s.Hall.WantNobodyLeft(t)
		})
	}
}
