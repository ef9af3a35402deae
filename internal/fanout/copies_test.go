package fanout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// hearer is a topic that hears of drafts of other nodes, and who watches.
type hearer struct {
	topic *Topic
	room  *Copies
	tasks task.Group
	q     *fakeQueue
}

func newHearer(t *testing.T, room *Copies) *hearer {
	h := &hearer{room: room}
	h.open(t, Config{Tasks: &h.tasks, Copies: room})
	return h
}

// open opens the topic, and has who watches join it.
func (h *hearer) open(t *testing.T, c Config) {
	h.topic, h.q = New("a", c), &fakeQueue{id: "ann", most: 1000}
	p := &Pager{}
	p.Init(h.q, c.Tasks)
	ann := newOwner(h.topic, p, "1")
	if err := ann.join(Want{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ann.leave()
		h.topic.Close()
		if used := h.room.used.Load(); used != 0 {
			t.Errorf("%d bytes are counted when there is no topic, want none", used)
		}
	})
}

// shown returns what was sent since the last time, a line for each.
func (h *hearer) shown() (list []string) {
	h.q.mu.Lock()
	defer h.q.mu.Unlock()
	for _, it := range h.q.seen {
		list = append(list, it.m.Event+" "+string(it.m.Payload()))
	}
	h.q.seen = nil
	return list
}

func (h *hearer) copies() int {
	h.topic.mu.Lock()
	defer h.topic.mu.Unlock()
	return len(h.topic.copies.list)
}

func (h *hearer) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := h.shown(); !slices.Equal(got, want) {
		t.Errorf("shown:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// begins is what a node tells of a draft that has just begun.
func begins(id, text string) Piece {
	return Piece{Draft: id, Event: "e", Payload: []byte("{}"), Text: quoted(text)}
}

func quoted(text string) []byte { return []byte(`"` + text + `"`) }

func started(id string) string {
	return `draft_start {"draft":"` + id + `","event":"e","payload":{},"n":0,"text":""}`
}

func delta(id string, n int, text string) string {
	return fmt.Sprintf(`draft_delta {"draft":%q,"n":%d,"text":"%s"}`, id, n, text)
}

func ended(id, reason string) string {
	return fmt.Sprintf(`draft_end {"draft":%q,"reason":%q}`, id, reason)
}

func TestCopiesOfDraftsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 10, Bytes: 3*perCopy + 100})
		h.topic.Hear(begins("d1", "12345"))
		h.wants(t, started("d1"), delta("d1", 1, "12345"))
		h.topic.Hear(Piece{Draft: "d1", At: 5, Text: quoted("678901")})
		h.wants(t, ended("d1", "lost"))
		h.topic.Hear(begins("d1", "12345678901"))
		h.topic.Hear(begins("d2", strings.Repeat("x", 11)))
		h.wants(t, started("d2"), ended("d2", "lost"))
		large := begins("d3", "")
		large.Payload = []byte(`{"x":"` + strings.Repeat("x", 3*perCopy) + `"}`)
		h.topic.Hear(large)
		h.wants(t)
		for i := range 5 {
			h.topic.Hear(begins(fmt.Sprint("f", i), ""))
		}
		h.wants(t, started("f0"), started("f1"), started("f2"))
		h.topic.Hear(Piece{Draft: "f0", Text: quoted(strings.Repeat("x", 9))})
		h.topic.HearEnd("f1", Over{Reason: "no good"}) // then there is room again
		h.topic.Hear(begins("f4", "x"))
		h.wants(t, delta("f0", 1, "xxxxxxxxx"), ended("f1", "no good"), started("f4"), delta("f4", 1, "x"))
	})
}

func TestATopicHasSoManyCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 10, Bytes: 1 << 30})
		for i := range 2 * maxCopies { // of every other one only a part is heard
			h.topic.Hear(Piece{Draft: fmt.Sprint("part ", i), At: 5})
			h.topic.Hear(begins(fmt.Sprint("d", i), ""))
		}
		if got := len(h.shown()); got != maxCopies/2 || h.copies() != maxCopies {
			t.Errorf("%d drafts are shown, of %d, want %d of %d", got, h.copies(), maxCopies/2, maxCopies)
		}
		time.Sleep(2 * silentAfter)
		if got := len(h.shown()); got != maxCopies/2 || h.copies() != 0 {
			t.Errorf("%d drafts are over, and %d are left, want %d and none", got, h.copies(), maxCopies/2)
		}
	})
}

// Whatever becomes of the pieces on their way, what is shown is the beginning of the text, and
// all of it when all has come.
func TestPiecesInAnyOrder(t *testing.T) {
	seed := need.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			h := newHearer(t, &Copies{Text: 1 << 20, Bytes: 1 << 20})
			var owner Topic
			d := NewDraft("d", "e", []byte("{}"))
			length := 0
			var pieces []Piece
			for range 1 + r.IntN(10) {
				d.text = append(d.text, []string{"a", "é", "\\n", "\\u00e9", "🙂"}[r.IntN(5)]...)
				from := length
				if r.IntN(3) == 0 {
					from = 0
				}
				p, end := owner.Piece(d, from)
				length = end
				pieces = append(pieces, p)
			}
			came := map[int]bool{}
			for len(came) < len(pieces) {
				i := r.IntN(len(pieces))
				came[i] = true
				b, err := pieces[i].Encode()
				if err != nil {
					t.Fatal(err)
				}
				p, err := DecodePiece(b)
				if err != nil {
					t.Fatal(err)
				}
				if from, missing := h.topic.Hear(p); missing {
					again, _ := owner.Piece(d, from)
					if r.IntN(2) == 0 {
						h.topic.Hear(again)
					}
				}
				time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
			}
			all, _ := owner.Piece(d, 0)
			h.topic.Hear(all)
			var text strings.Builder
			for i, line := range h.shown() {
				var rest string
				if n, _ := fmt.Sscanf(line, `draft_delta {"draft":"d","n":%d,`, new(int)); n == 1 {
					_, rest, _ = strings.Cut(line, fmt.Sprintf(`"n":%d,"text":"`, i))
					text.WriteString(strings.TrimSuffix(rest, `"}`))
				} else if i > 0 {
					t.Errorf("shown %s, want deltas only", line)
				}
			}
			if text.String() != string(d.text) {
				t.Errorf("shown %q, want %q", text.String(), d.text)
			}
		})
	}
}

// Who misses something says so once in a while, not with every piece.
func TestWhatIsMissingIsSaidNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 100, Bytes: 1 << 20})
		said := 0
		for i := range 50 { // in 2 s
			if from, missing := h.topic.Hear(Piece{Draft: "d", At: 1 + i, Text: quoted("x")}); missing {
				said++
				if from != 0 {
					t.Errorf("the draft is missing from %d, want 0", from)
				}
			}
			time.Sleep(40 * time.Millisecond)
		}
		if said != 4 {
			t.Errorf("said %d times that it is missing, want 4 in 2 s", said)
		}
		h.topic.Hear(begins("d", "12345"))
		if from, missing := h.topic.Hear(Piece{Draft: "d", At: 7, Text: quoted("x")}); !missing || from != 5 {
			t.Errorf("missing from %d: %t, want from 5, at once", from, missing)
		}
	})
}

// A piece that begins within a letter, as none of this version does, is not shown.
func TestAPieceThatOverlapsALetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 100, Bytes: 1 << 20})
		h.topic.Hear(begins("d", "12"))
		h.shown()
		for _, text := range []string{`1é`, `a\\\"`, `\u00e9`} {
			h.topic.Hear(Piece{Draft: "d", Text: quoted(text)})
		}
		for _, line := range h.shown() {
			if !strings.HasPrefix(line, "draft_delta ") || strings.ContainsRune(line, '\uFFFD') {
				t.Errorf("shown %q", line)
			}
		}
	})
}

func TestDraftsThatAreMessages(t *testing.T) {
	for payload, want := range map[string]string{
		`{"draft":"d1","text":"x"}`:                   "d1",
		`{"draft":"d1"}`:                              "d1",
		`{"draft":""}`:                                "",
		`{"draft":1}`:                                 "",
		`{"text":"x","draft":"d1"}`:                   "",
		`{"draft":"` + strings.Repeat("x", 64) + `"}`: strings.Repeat("x", 64),
		`{"draft":"` + strings.Repeat("x", 65) + `"}`: "",
		`{"draft":"d1`:                                "",
		`{}`:                                          "",
	} {
		if got := wholeOf([]byte(payload)); got != want {
			t.Errorf("%s: got %q, want %q", payload, got, want)
		}
	}
}

// What looks like the message of a draft and has another event is none: somebody repeats it.
func TestAMessageOfAnotherEventEndsNoDraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 100, Bytes: 1 << 20})
		h.topic.Hear(begins("d", "1"))
		h.topic.Published(message("other", `{"draft":"d"}`))
		h.topic.Hear(Piece{Draft: "d", At: 1, Text: quoted("2")})
		h.topic.Published(message("e", `{"draft":"d"}`))
		h.topic.Hear(Piece{Draft: "d", At: 2, Text: quoted("3")})
		h.topic.Hear(begins("d", "123"))
		h.topic.HearEnd("d", Over{})
		h.wants(t, started("d"), delta("d", 1, "1"), `other {"draft":"d"}`, delta("d", 2, "2"), `e {"draft":"d"}`)
	})
}

func message(event, payload string) broker.Publication {
	return broker.Publication{Topic: "a", Message: store.Message{Event: event, Payload: []byte(payload)}}
}

// A draft of this node whose ephemeral message is not announced, not even here, is over.
func TestAnEphemeralMessageThatDoesNotComeIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearer(t, &Copies{Text: 100, Bytes: 1 << 20})
		for _, comes := range []string{"before", "meanwhile", "never"} {
			d := NewDraft(comes, "e", []byte("{}"))
			h.topic.BeginDraft(d)
			h.topic.EndDraft(d, "")
			h.shown()
			final := message("e", `{"draft":"`+comes+`"}`)
			if comes == "before" {
				h.topic.Published(final)
			}
			began := time.Now()
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.topic.AwaitMessage(d)
			}()
			synctest.Wait()
			if comes == "meanwhile" {
				h.topic.Published(final)
			}
			<-done
			if comes == "never" {
				h.wants(t, ended("never", "over"))
			} else if h.wants(t, "e "+string(final.Payload)); time.Since(began) > 0 {
				t.Errorf("%s: waits for %v", comes, time.Since(began))
			}
		}
	})
}

// A text of 256 KiB that is sent again is not much more than that.
func TestAPieceIsNotMuchLargerThanItsText(t *testing.T) {
	var owner Topic
	d := NewDraft("7KQ2ZVN5HJ3XWPLA", "message_new", []byte(`{"name":"Oracle"}`))
	d.text = []byte(strings.Repeat("<é\u2028\\n", 20_000))
	for from, most := range map[int]int{0: 200, len(d.text): 80} {
		p, _ := owner.Piece(d, from)
		p.By = strings.Repeat("x", 16)
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if extra := len(b) - (len(d.text) - from); extra > most {
			t.Errorf("from %d: %d bytes besides the text, want at most %d", from, extra, most)
		}
		back, err := DecodePiece(b)
		if err != nil || string(back.Text) != string(p.Text) {
			t.Errorf("from %d: the text has changed on its way: %v", from, err)
		}
	}
}

// A node that names a place within a letter is told all of the text: what is cut there is no
// JSON, and its owner would tell nobody anything any more.
func TestWhatIsMissingFromWithinALetterIsToldFromTheBegin(t *testing.T) {
	var owner Topic
	d := NewDraft("d", "message_new", []byte("{}"))
	d.text = []byte(`é"`[:2] + `\"x`) // é\"x
	for from, at := range map[int]int{0: 0, 1: 0, 2: 2, 3: 0, 4: 4, 5: 5, 6: 5} {
		p, end := owner.Piece(d, from)
		if _, err := p.Encode(); err != nil {
			t.Errorf("from %d: %v", from, err)
		}
		if p.At != at || end != len(d.text) || string(p.text()) != string(d.text[at:]) {
			t.Errorf("from %d: got %q at %d up to %d, want %q at %d", from, p.text(), p.At, end, d.text[at:], at)
		}
	}
}
