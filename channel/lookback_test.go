package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// olderPage is a page as its reader reads it.
type olderPage struct {
	Epoch    string
	Complete bool
	More     bool
	Messages []struct {
		Offset  uint64
		At      time.Time
		Event   string
		Payload json.RawMessage
	}
}

func (p olderPage) offsets() []uint64 {
	list := []uint64{}
	for _, m := range p.Messages {
		list = append(list, m.Offset)
	}
	return list
}

// asks sends a request for older messages, and returns the reply when all is idle.
func (r *reader) asks(t *testing.T, request string) (page olderPage, refused string) {
	t.Helper()
	r.takes()
	r.says(t, `["1","7","a","@history",`+request+`]`)
	synctest.Wait()
	got := r.takes()
	if len(got) != 1 {
		t.Fatalf("%s: read %q, want one reply", request, got)
	}
	return pageOf(t, got[0])
}

// pageOf reads the reply to a request with the refs 1 and 7.
func pageOf(t *testing.T, text string) (page olderPage, refused string) {
	t.Helper()
	var frame [5]json.RawMessage
	var reply struct {
		Status   string
		Response json.RawMessage
	}
	var why struct{ Reason string }
	err := json.Unmarshal([]byte(text), &frame)
	if err == nil {
		err = json.Unmarshal(frame[4], &reply)
	}
	if err != nil || string(frame[0])+string(frame[1])+string(frame[3]) != `"1""7""phx_reply"` {
		t.Fatalf("got %s, want a reply with these refs: %v", text, err)
	}
	if reply.Status == "ok" {
		err = json.Unmarshal(reply.Response, &page)
	} else {
		err = json.Unmarshal(reply.Response, &why)
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return page, why.Reason
}

func before(epoch string, offset, limit uint64) string {
	return fmt.Sprintf(`{"before":{"epoch":%q,"offset":%d},"limit":%d}`, epoch, offset, limit)
}

func TestAMemberReadsOlderMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, s, r := stageAt(t, ch, History{Keep: 10})
		broadcast(t, h, 3)
		if err := h.Broadcast(t.Context(), "a", "picture", Binary{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.wants(t, joinedWith(s, `"offset":4`))
		r.says(t, `["1","7","a","@history",{"limit":2}]`)
		synctest.Wait()
		now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		r.wants(t, fmt.Sprintf(`["1","7","a","phx_reply",{"status":"ok","response":{"epoch":%q,"complete":true,"more":true,"messages":[`+
			`{"offset":3,"at":%q,"event":"event-3","payload":{}},{"offset":4,"at":%[2]q,"event":"picture","payload":{"@binary":"AQID"}}]}}]`, s.Epoch(), now))
		page, _ := r.asks(t, before(s.Epoch(), 3, 2))
		if !slices.Equal(page.offsets(), []uint64{1, 2}) || page.More || !page.Complete {
			t.Errorf("before 3: got %+v, want 1 and 2, and that this is all", page)
		}
		page, _ = r.asks(t, before(s.Epoch(), 1, 2))
		if len(page.Messages) > 0 || page.Messages == nil || page.More || !page.Complete {
			t.Errorf("before the first: got %+v, want nothing, and that this is all", page)
		}
		page, _ = r.asks(t, before("another", 3, 2))
		if len(page.Messages) > 0 || page.More || page.Complete || page.Epoch != s.Epoch() {
			t.Errorf("before a position of another epoch: got %+v, want nothing, and not all", page)
		}
		if page, _ = r.asks(t, before(s.Epoch(), 1<<63, 500)); len(page.Messages) != 4 {
			t.Errorf("before what is to come: got %+v, want all", page)
		}
		ch.wants(t, "join 1") // the channel sees none of it
		broadcast(t, h, 1)
		r.wants(t, event(5, 1)) // and the member is one as before
	})
}

func TestMalformedRequestsForOlderMessages(t *testing.T) {
	const (
		anything = `malformed request: want {"before":{"epoch":"…","offset":n},"limit":n}`
		position = `malformed before: want {"epoch":"…","offset":n}, and n from 1`
		number   = "malformed limit: want a number from 1"
	)
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, s, r := stageAt(t, ch, History{Keep: 1000})
		broadcast(t, h, 600)
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		ch.wants(t, "join 1")
		reads := s.reads
		for request, want := range map[string]string{
			`[]`: anything, `null`: anything, `7`: anything, `"before"`: anything, `{"@binary":"AQID"}`: anything,
			`{"before":7}`: position, `{"before":"7"}`: position, `{"before":[]}`: position, `{"before":{}}`: position,
			`{"before":{"offset":3}}`: position, `{"before":{"epoch":"","offset":3}}`: position, `{"before":{"epoch":3,"offset":3}}`: position,
			`{"before":{"epoch":"e"}}`: position, `{"before":{"epoch":"e","offset":0}}`: position, `{"before":{"epoch":"e","offset":-1}}`: position,
			`{"before":{"epoch":"e","offset":1.5}}`: position, `{"before":{"epoch":"e","offset":"3"}}`: position,
			`{"before":{"epoch":"e","offset":18446744073709551616}}`: position, `{"before":{"epoch":"e","offset":1e300}}`: position,
			`{"limit":0}`: number, `{"limit":-1}`: number, `{"limit":1.5}`: number, `{"limit":"5"}`: number, `{"limit":[5]}`: number,
			`{"limit":18446744073709551616}`: number,
		} {
			if _, refused := r.asks(t, request); refused != want {
				t.Errorf("%s: got %q, want %q", request, refused, want)
			}
		}
		if s.reads != reads {
			t.Errorf("the store was read %d times for what is malformed", s.reads-reads)
		}
		for request, want := range map[string]int{
			`{}`: 50, `{"before":null,"limit":null}`: 50, `{"limit":1}`: 1, `{"limit":500}`: 500, `{"limit":501}`: 500, `{"limit":9223372036854775808}`: 500,
			`{"before":null,"other":1}`: 50,
		} {
			if page, refused := r.asks(t, request); len(page.Messages) != want || page.Messages[want-1].Offset != 600 || !page.More {
				t.Errorf("%s: got %d messages, more %t, refused %q, want the newest %d, and more", request, len(page.Messages), page.More, refused, want)
			}
		}
		ch.wants(t)
		// Nobody could read the answer to a request without a ref: it costs no read either.
		reads = s.reads
		r.says(t, `["1",null,"a","@history",{}]`)
		synctest.Wait()
		if r.wants(t); s.reads != reads {
			t.Error("the store was read for a request without a ref")
		}
		r.says(t, `["0","7","a","@history",{}]`) // of an earlier join
		synctest.Wait()
		r.wants(t)
		r.says(t, `["1","7","b","@history",{}]`)
		synctest.Wait()
		r.wants(t, `[null,"7","b","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
	})
}

func TestATopicWithoutHistoryHasNoOlderMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		_, r := stage(t, ch)
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		if _, refused := r.asks(t, `{}`); refused != "no history" {
			t.Errorf("got %q, want %q", refused, "no history")
		}
		ch.wants(t, "join 1")
	})
}

func TestTheEventsOfChimeItselfAreNoApplications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, r := stage(t, ch)
		for _, name := range []string{"@history", "@", "@other"} {
			if err := h.Broadcast(t.Context(), "a", name, nil); err == nil || !strings.Contains(err.Error(), "neither phx_ nor @") {
				t.Errorf("broadcast of %s: got %v, want it refused", name, err)
			}
		}
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		if _, refused := r.asks(t, `{}`); refused != "no history" {
			t.Errorf("@history: got %q", refused)
		}
		r.says(t, `["1","8","a","@other",{}]`)
		synctest.Wait()
		r.wants(t, `["1","8","a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]`)
		ch.wants(t, "join 1")
	})
}

func TestAPageThatCanNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, r := stageAt(t, &scripted{}, History{Keep: 10})
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		s.fails = 1
		if _, refused := r.asks(t, `{}`); refused != "unavailable" {
			t.Errorf("got %q, want %q", refused, "unavailable")
		}
		if page, refused := r.asks(t, `{}`); refused != "" || !page.Complete {
			t.Errorf("the next one: got %+v, refused %q", page, refused)
		}
	})
}

// What is erased while a page is read is not in it, and what tells of that comes behind it.
func TestAPageHasNothingThatWasErasedMeanwhile(t *testing.T) {
	for name, erase := range map[string]func(h *Hub) error{
		"redact": func(h *Hub) error { return h.Redact(context.Background(), "a", 2) },
		"forget": func(h *Hub) error { return h.Forget(context.Background(), "a") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, s, r := stageAt(t, &scripted{}, History{Keep: 10})
				broadcast(t, h, 3)
				r.says(t, `["1","1","a","phx_join",{}]`)
				synctest.Wait()
				r.takes()
				s.shut(&s.after)
				r.says(t, `["1","7","a","@history",{}]`)
				synctest.Wait() // it is read, and on its way
				if err := erase(h); err != nil {
					t.Fatal(err)
				}
				broadcast(t, h, 1, Ephemeral())
				s.open(&s.after)
				synctest.Wait()
				got := r.takes()
				if len(got) != 3 || got[1] != event(0, 1) {
					t.Fatalf("read %q, want what was taken back, what was said, and then the page", got)
				}
				page, _ := pageOf(t, got[2])
				want, complete := []uint64{1, 3, 4}, true
				if name == "forget" {
					want, complete = []uint64{4}, false
				}
				if !slices.Equal(page.offsets(), want) || page.Complete != complete {
					t.Errorf("got %v, complete %t, want %v, %t", page.offsets(), page.Complete, want, complete)
				}
			})
		})
	}
}

// A page is one frame. It fits where a client may have little waiting, and it waits for
// a client that reads nothing: nobody is ended for having asked.
func TestAPageFitsWhoeverAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, r := stageAt(t, &scripted{}, History{Keep: 1000})
		h.limits.QueueBytes = 8_000
		r.limits = h.limits
		text := strings.Repeat("x", 200)
		for range 40 {
			if err := h.Broadcast(t.Context(), "a", "said", map[string]string{"text": text}); err != nil {
				t.Fatal(err)
			}
		}
		r.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		r.takes()
		r.stick(true)
		for range 6 {
			r.says(t, `["1","7","a","@history",{"limit":500}]`)
		}
		synctest.Wait()
		if n := len(r.queue); n != 2 || r.over() { // the first filled its room
			t.Errorf("%d pages are queued for a client that reads nothing, over: %t, want 2", n, r.over())
		}
		for range 6 {
			r.read(1)
			synctest.Wait()
		}
		r.stick(false)
		synctest.Wait()
		got := r.takes()
		if len(got) != 6 {
			t.Fatalf("got %d pages, want 6", len(got))
		}
		for _, text := range got {
			page, _ := pageOf(t, text)
			if n := len(page.Messages); len(text) > 2_100 || n < 5 || page.Messages[n-1].Offset != 40 || !page.More {
				t.Errorf("a page has %d messages, %d bytes, more %t, want the newest that fit into 2000", n, len(text), page.More)
			}
		}
		// One that is larger than that comes alone.
		if err := h.Broadcast(t.Context(), "a", "said", map[string]string{"text": strings.Repeat("y", 5_000)}); err != nil {
			t.Fatal(err)
		}
		broadcast(t, h, 2)
		if page, _ := r.asks(t, `{"limit":3}`); !slices.Equal(page.offsets(), []uint64{42, 43}) || !page.More {
			t.Errorf("behind a large one: got %v, more %t", page.offsets(), page.More)
		}
		epoch := h.history.Epoch()
		if page, _ := r.asks(t, before(epoch, 42, 3)); !slices.Equal(page.offsets(), []uint64{41}) || !page.More {
			t.Errorf("a large one: got %v, more %t", page.offsets(), page.More)
		}
	})
}

// lookups is how many pages are read at one time for all who look back.
const lookups = 8

// Many who look back are read for a few at a time, joins do not wait for them, and one
// that goes does not either.
func TestThoseWhoLookBackDelayNoJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := &scripted{}
		h, s, first := stageAt(t, ch, History{Keep: 1000, Replay: 2})
		broadcast(t, h, 3)
		readers := []*reader{first}
		for i := range 3 * lookups {
			readers = append(readers, newReader(h, fmt.Sprint(i)))
		}
		for _, r := range readers {
			r.says(t, `["1","1","a","phx_join",{}]`)
		}
		synctest.Wait()
		reads := s.reads
		s.shut(&s.before)
		for i, r := range readers {
			r.says(t, `["1","7","a","@history",{}]`)
			r.says(t, `["1","7","a","@history",{}]`)
			if i == lookups {
				synctest.Wait() // whoever asks last waits
			}
		}
		synctest.Wait()
		if got := s.reads - reads; got != lookups {
			t.Errorf("%d pages are read at one time, want %d", got, lookups)
		}
		late := newReader(h, "late")
		late.says(t, `["1","1","a","phx_join",{}]`)
		synctest.Wait()
		late.wants(t, joinedWith(s, `"offset":1`), event(2, 2), event(3, 3))
		last := readers[len(readers)-1]
		last.Close(0, "", Kicked)
		synctest.Wait()
		if n := len(h.members("a")); n != len(readers) {
			t.Errorf("%d members when one was kicked that waits for its page, want %d", n, len(readers))
		}
		s.open(&s.before)
		synctest.Wait()
		for _, r := range append(readers[:len(readers)-1], late) {
			want := 2 + 1 + 2 // replayed, reply, pages
			if r == late {
				want = 0
			}
			if got := r.takes(); len(got) != want {
				t.Errorf("%s read %d frames, want %d", r.id, len(got), want)
			}
			r.Close(0, "", Closed)
		}
	})
}

// looked is what a topic was given, as the model of TestLookingBackAtRandom knows it.
type looked struct {
	offset uint64
	at     time.Time
	lapsed bool // trimmed, aged or forgotten
	hidden bool // redacted
}

// A topic is appended to, trimmed, redacted, forgotten and aged at random, while a member
// reads pages of it before any offset: each is what a list says that nothing is taken off.
func TestLookingBackAtRandom(t *testing.T) {
	need.Bubbles(t, 20, 300, lookBackAtRandom)
}

func lookBackAtRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	keep := 1 + r.IntN(30)
	h := NewHub(Config{Broker: local.New(store.NewMemory()), Log: slog.New(slog.DiscardHandler), Limits: transport.Limits{QueueBytes: 1 << (12 + r.IntN(6))}})
	h.Channel("{topic}", &scripted{}, History{Keep: keep, Age: time.Hour})
	c := newReader(h, "reader")
	defer func() { c.Close(0, "", Closed); synctest.Wait() }()
	c.says(t, `["1","1","a","phx_join",{"@last":0}]`)
	synctest.Wait()
	epoch := h.history.Epoch()

	var list []looked
	trim := func() {
		left := keep
		for i := len(list) - 1; i >= 0; i-- {
			if e := &list[i]; !e.lapsed && !e.hidden {
				e.lapsed = left <= 0 || time.Since(e.at) >= time.Hour
				left--
			}
		}
	}
	said := func() { // the message of the topic that is the newest
		_, at, err := h.History(t.Context(), "a", 1)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(list); at.Offset > 0 && (n == 0 || list[n-1].offset != at.Offset) {
			list = append(list, looked{offset: at.Offset, at: time.Now()})
		}
	}
	for range 60 {
		switch dice := r.IntN(20); {
		case dice < 8:
			topic := []string{"a", "other"}[r.IntN(2)] // offsets are not dense
			if err := h.Broadcast(t.Context(), topic, "said", map[string]string{"text": strings.Repeat("x", r.IntN(300))}); err != nil {
				t.Fatal(err)
			}
			if topic == "a" {
				said()
			}
		case dice < 9:
			if err := h.Forget(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			for i := range list {
				list[i].lapsed = true
			}
			said()
		case dice < 11 && len(list) > 0:
			trim()
			e := &list[r.IntN(len(list))]
			err := h.Redact(t.Context(), "a", e.offset)
			kept := !e.lapsed && !e.hidden
			if (err == nil) != kept {
				t.Errorf("redact %d: got %v, and it was kept: %t", e.offset, err, kept)
			}
			if kept {
				e.hidden = true
				said()
			}
		case dice < 12:
			time.Sleep(time.Duration(r.IntN(40)) * time.Minute)
		default:
			trim()
			at, limit := 1+r.Uint64N(80), 1+r.Uint64N(12)
			want, complete := []uint64{}, true
			for _, e := range list {
				complete = complete && !e.lapsed
				if e.offset < at && !e.lapsed && !e.hidden {
					want = append(want, e.offset)
				}
			}
			page, refused := c.asks(t, before(epoch, at, limit))
			got := page.offsets()
			most := min(len(want), int(limit))
			if len(got) > most || len(got) == 0 && most > 0 || !slices.Equal(got, want[len(want)-len(got):]) ||
				page.More != (len(got) < len(want)) || page.Complete != complete || refused != "" {
				t.Fatalf("before %d, at most %d: got %v, more %t, complete %t, %q, want the last of %v, complete %t", at, limit, got, page.More, page.Complete, refused, want, complete)
			}
		}
	}
}
