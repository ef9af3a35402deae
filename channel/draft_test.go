package channel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker/local"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

type obj map[string]any

// oracle answers with what a test gives it.
type oracle struct {
	channel.AnyoneMayJoin
	channel.NothingOnLeave
	write channel.DraftFunc
}

func (c *oracle) HandleMessage(ctx context.Context, s *channel.Socket, m channel.Message) (any, error) {
	var in struct{ Draft string }
	if err := m.Decode(&in); err != nil {
		return nil, err
	}
	if m.Event == "stop" {
		return nil, s.StopDraft(ctx, in.Draft)
	}
	id, err := s.Draft(ctx, "answer", obj{"by": "oracle"}, c.write)
	return obj{"draft": id}, err
}

func drafting(t *testing.T, c *oracle, options ...channel.Option) *channeltest.Hub {
	return channeltest.New(t, "room:{id}", c, options...)
}

var kept = channel.History{Keep: 100, Replay: 10}

// final is the message that a draft becomes.
func final(id, text string) obj { return obj{"draft": id, "by": "oracle", "text": text} }

func TestADraftGrowsAndBecomesOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := make(chan string)
		c := &oracle{write: func(ctx context.Context, d *channel.Draft) error {
			for token := range tokens {
				if err := d.Append(token); err != nil {
					return err
				}
			}
			return nil
		}}
		hub := drafting(t, c, kept)
		anns := hub.Connect(transport.Identity{})
		ann := anns.Join("room:1", nil)
		ann.Push("ask", nil)
		tokens <- "Once "
		id := ann.WantDraft("answer", "Once ")
		anns.Close(channel.Closed) // the page is reloaded: nobody is in the topic
		synctest.Wait()
		var want strings.Builder
		want.WriteString("Once ")
		for n := range 10_000 {
			token := fmt.Sprintf("\"%d\", ", n)
			tokens <- token
			want.WriteString(token)
			if n == 5000 {
				time.Sleep(time.Second)
				ann = hub.Join("room:1", nil)
				ann.WantDraft("answer", want.String())
			}
		}
		close(tokens)
		ann.WantBroadcast("answer", final(id, want.String()))
		bob := hub.Join("room:1", nil)
		bob.WantBroadcast("answer", final(id, want.String())) // replayed
		for _, m := range []*channeltest.Member{ann, bob} {
			m.WantNothing()
		}
		messages, _, err := hub.History(t.Context(), "room:1", 100)
		if err != nil || len(messages) != 1 {
			t.Errorf("%d messages are retained (%v), want 1", len(messages), err)
		}
	})
}

// How a draft ends is said by what its function returns.
func TestHowADraftEnds(t *testing.T) {
	failed := errors.New("the model is down: a secret")
	for name, test := range map[string]struct {
		write  channel.DraftFunc
		stop   bool
		reason string // "": it becomes a message
	}{
		"nil":          {write: func(context.Context, *channel.Draft) error { return nil }},
		"refused":      {write: func(context.Context, *channel.Draft) error { return channel.Refuse("unseemly") }, reason: "unseemly"},
		"failed":       {write: func(context.Context, *channel.Draft) error { return failed }, reason: "internal"},
		"full":         {write: func(_ context.Context, d *channel.Draft) error { return d.Append(strings.Repeat("x", 256<<10)) }},
		"panicked":     {write: func(context.Context, *channel.Draft) error { panic("a secret") }, reason: "crashed"},
		"goexit":       {write: func(context.Context, *channel.Draft) error { runtime.Goexit(); return nil }, reason: "crashed"},
		"not UTF-8":    {write: func(_ context.Context, d *channel.Draft) error { return d.Append("\xff") }, reason: "internal"},
		"stopped":      {stop: true, write: func(ctx context.Context, d *channel.Draft) error { return until(ctx) }},
		"then appends": {stop: true, write: func(ctx context.Context, d *channel.Draft) error { _ = until(ctx); return d.Append("more") }},
		"and refused":  {stop: true, write: func(ctx context.Context, d *channel.Draft) error { _ = until(ctx); return channel.Refuse("never mind") }, reason: "never mind"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leaked := make(chan *channel.Draft, 1)
				c := &oracle{write: func(ctx context.Context, d *channel.Draft) error {
					leaked <- d
					if err := d.Append("so "); err != nil {
						return err
					}
					if err := d.Append("far"); err != nil {
						return err
					}
					time.Sleep(time.Second)
					return test.write(ctx, d)
				}}
				hub := drafting(t, c, kept)
				ann, bob := hub.Join("room:1", nil), hub.Join("room:1", nil)
				ann.Push("ask", nil)
				id := bob.WantDraft("answer", "so far")
				ann.WantDraft("answer", "so far")
				ann.Push("stop", obj{"draft": "other"}).WantError("no such draft")
				if test.stop {
					bob.Push("stop", obj{"draft": id}).WantReply(nil)
				}
				for _, m := range []*channeltest.Member{ann, bob} {
					if test.reason == "" {
						m.WantBroadcast("answer", final(id, "so far"))
					} else {
						m.WantBroadcast("draft_end", obj{"draft": id, "reason": test.reason})
					}
					m.WantNothing()
				}
				if err := (<-leaked).Append("more"); !errors.Is(err, channel.ErrDraftOver) {
					t.Errorf("append to a draft that is over: got %v, want %v", err, channel.ErrDraftOver)
				}
				if err := hub.StopDraft(t.Context(), "room:1", id); !errors.Is(err, channel.ErrNoDraft) {
					t.Errorf("stop a draft that is over: got %v, want %v", err, channel.ErrNoDraft)
				}
				hub.Join("room:2", nil).WantNothing()
			})
		})
	}
}

// until returns when the draft is stopped.
func until(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestTheTextOfADraft(t *testing.T) {
	type piece struct {
		text string
		fits bool
	}
	for name, test := range map[string]struct {
		pieces []piece
		want   string
	}{
		"a letter in three pieces":       {[]piece{{"\xe2", true}, {"\x82", true}, {"\xac 5", true}}, "€ 5"},
		"a letter that is never whole":   {[]piece{{"5 \xe2\x82", true}}, "5 "},
		"two letters, cut":               {[]piece{{"ä\xf0\x9f", true}, {"\x99\x82", true}}, "ä🙂"},
		"bytes that are no letter":       {[]piece{{"a", true}, {"\xff", false}, {"b", true}}, "ab"},
		"the wrong bytes behind a cut":   {[]piece{{"a\xe2", true}, {"b", false}, {"\x82\xac", true}}, "a€"},
		"nothing":                        {[]piece{{"", true}, {"a", true}, {"", true}}, "a"},
		"what JSON escapes":              {[]piece{{"a\"\\\n\x00\u2028<", true}}, "a\"\\\n\x00\u2028<"},
		"too much":                       {[]piece{{"a", true}, {strings.Repeat("x", 256<<10), false}, {"b", true}}, "ab"},
		"too much as JSON has it":        {[]piece{{"a", true}, {strings.Repeat("\x01", 64<<10), false}}, "a"},
		"as much as there may be of one": {[]piece{{strings.Repeat("x", 256<<10), true}, {"b", false}}, strings.Repeat("x", 256<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &oracle{write: func(_ context.Context, d *channel.Draft) error {
					for _, p := range test.pieces {
						if err := d.Append(p.text); (err == nil) != p.fits {
							t.Errorf("append %.20q: got %v, want that it is taken: %t", p.text, err, p.fits)
						}
					}
					time.Sleep(time.Second)
					return nil
				}}
				ann := drafting(t, c, kept).Join("room:1", nil)
				ann.Push("ask", nil)
				id := ann.WantDraft("answer", test.want)
				ann.WantBroadcast("answer", final(id, test.want))
			})
		})
	}
}

func TestDraftsThatCannotBegin(t *testing.T) {
	hub := drafting(t, &oracle{}, kept)
	never := func(context.Context, *channel.Draft) error {
		t.Error("a draft was written that has not begun")
		return nil
	}
	for name, test := range map[string]struct {
		topic, event string
		payload      any
		want         string
	}{
		"no channel":     {"elsewhere", "e", nil, "no channel for this topic"},
		"an event":       {"room:1", "phx_e", nil, "neither phx_ nor @ in front"},
		"no object":      {"room:1", "e", []int{1}, "not a JSON object"},
		"bytes":          {"room:1", "e", channel.Binary("x"), "payload is Binary"},
		"a text already": {"room:1", "e", obj{"text": ""}, `payload has "text"`},
		"an ID already":  {"room:1", "e", json.RawMessage(`{"\u0064raft":1}`), `payload has "draft"`},
	} {
		if _, err := hub.Draft(t.Context(), test.topic, test.event, test.payload, never); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wait := func(ctx context.Context, d *channel.Draft) error { return until(ctx) }
	if _, err := hub.Draft(over, "room:1", "e", nil, wait); err != nil {
		t.Errorf("a draft of who has gone: %v", err) // the broker of one process waits for nothing
	}
	for range 15 {
		if _, err := hub.Draft(t.Context(), "room:1", "e", nil, wait); err != nil {
			t.Fatal(err)
		}
	}
	var refusal *channel.Error
	if _, err := hub.Draft(t.Context(), "room:1", "e", nil, never); !errors.Is(err, channel.ErrDraftFull) || !errors.As(err, &refusal) {
		t.Errorf("the 17th in a topic: got %v, want %v, for a client to read", err, channel.ErrDraftFull)
	}
	id, err := hub.Draft(t.Context(), "room:2", "e", nil, wait)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.StopDraft(t.Context(), "room:1", id); !errors.Is(err, channel.ErrNoDraft) {
		t.Errorf("stop a draft of another topic: got %v, want %v", err, channel.ErrNoDraft)
	}
}

func TestAllDraftsHaveOneBound(t *testing.T) {
	hub := drafting(t, &oracle{}, kept)
	var full sync.WaitGroup
	begin := func(n int) {
		full.Add(1)
		_, err := hub.Draft(t.Context(), fmt.Sprint("room:", n), "e", nil, func(ctx context.Context, d *channel.Draft) error {
			err := d.Append(strings.Repeat("x", 256<<10))
			if full.Done(); n < 252 && err != nil || n >= 252 && !errors.Is(err, channel.ErrDraftFull) {
				t.Errorf("draft %d: %v", n, err)
			}
			return until(ctx)
		})
		if err != nil {
			t.Fatal(err)
		}
		full.Wait()
	}
	for n := range 253 { // of 260 KiB: 64 MiB are 252 and a part
		begin(n)
	}
}

// A channel may begin drafts with what a client sends.
func TestThePayloadsOfDraftsAreBounded(t *testing.T) {
	hub := drafting(t, &oracle{}, kept)
	payload := obj{"question": strings.Repeat("x", 1<<20)}
	begun := 0
	for ; begun < 100; begun++ {
		_, err := hub.Draft(t.Context(), fmt.Sprint("room:", begun), "e", payload, func(ctx context.Context, _ *channel.Draft) error { return until(ctx) })
		if err != nil && !errors.Is(err, channel.ErrDraftFull) {
			t.Fatal(err)
		}
		if err != nil {
			break
		}
	}
	if begun != 31 { // of 2 MiB and something
		t.Errorf("%d drafts with a payload of 1 MiB were begun, want 31: all have 64 MiB", begun)
	}
}

func TestADraftWithoutAHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &oracle{write: func(_ context.Context, d *channel.Draft) error {
			err := d.Append("hm")
			time.Sleep(time.Second)
			return err
		}}
		hub := drafting(t, c)
		ann := hub.Join("room:1", nil)
		ann.Push("ask", nil)
		time.Sleep(time.Second / 2)
		bob := hub.Join("room:1", nil)
		id := bob.WantDraft("answer", "hm")
		ann.WantBroadcast("answer", final(id, "hm"))
		bob.WantBroadcast("answer", final(id, "hm"))
	})
}

func TestADraftThatCannotBeKeptIsTakenBack(t *testing.T) {
	s := store.NewMemory()
	var log strings.Builder
	hub := channeltest.Open(t, channel.Config{Broker: local.New(s), Log: slog.New(slog.NewTextHandler(&log, nil))})
	begun := make(chan struct{})
	hub.Channel("room:{id}", &oracle{write: func(_ context.Context, d *channel.Draft) error {
		err := d.Append("hm")
		<-begun
		_ = s.Close()
		return err
	}}, kept)
	ann := hub.Join("room:1", nil)
	ann.Push("ask", nil)
	id := ann.WantDraft("answer", "hm")
	close(begun)
	ann.WantBroadcast("draft_end", obj{"draft": id, "reason": "internal"})
	ann.WantNothing()
	if !strings.Contains(log.String(), `msg="draft could not be published" topic=room:1 event=answer`) {
		t.Errorf("logged %q", log.String())
	}
}

func TestShutdownKeepsWhatThereIsOfADraft(t *testing.T) {
	c := &oracle{write: func(ctx context.Context, d *channel.Draft) error {
		_ = d.Append("so far")
		return until(ctx)
	}}
	hub := drafting(t, c, kept)
	ann := hub.Join("room:1", nil)
	ann.Push("ask", nil)
	id := ann.WantDraft("answer", "so far")
	if err := hub.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ann.WantBroadcast("answer", final(id, "so far"))
	if _, err := hub.Draft(t.Context(), "room:1", "answer", nil, c.write); err == nil || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("a draft after Shutdown: got %v", err)
	}
}

func TestShutdownNamesADraftThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hub := drafting(t, &oracle{}, kept)
		if _, err := hub.Draft(t.Context(), "room:1", "answer", nil, func(context.Context, *channel.Draft) error { <-release; return nil }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := hub.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), `still running: DraftFunc of "room:1" (room:{id})`) {
			t.Errorf("got %v, want the name of the draft", err)
		}
		close(release)
	})
}
