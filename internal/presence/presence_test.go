package presence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/internal/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

// audience is a topic whose clients are told at once.
type audience struct {
	*Window[int]
	*Roster
	tasks   task.Group
	views   []*View
	diffs   []diff
	waiting chan struct{} // an announcement waits for it; nil: for nothing
}

type diff struct {
	at      time.Time
	payload string
}

func newAudience(t *testing.T) *audience {
	w := &audience{Roster: NewRoster("a")}
	w.Window = NewWindow(NewRefs(), w.Roster, &w.tasks, func(c broker.Change, _ []int) {
		if w.waiting != nil {
			<-w.waiting
		}
		m := w.Apply(c)
		if m == nil {
			return
		}
		w.diffs = append(w.diffs, diff{time.Now(), string(payloadOf(t, m))})
		for _, v := range w.views {
			if _, err := v.Take(m.Event, payloadOf(t, m)); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

// look is a client that comes.
func (w *audience) look(t *testing.T) {
	v, m := &View{}, w.State()
	if _, err := v.Take(m.Event, payloadOf(t, m)); err != nil {
		t.Error(err)
	}
	w.views = append(w.views, v)
}

func payloadOf(t *testing.T, m *wire.Message) []byte {
	t.Helper()
	f, err := wire.Decode(m.AppendText(nil, false, ""))
	if err != nil || f.Topic != "a" || !f.JoinRef.Null() {
		t.Fatalf("%v: %v", f, err)
	}
	return f.Payload
}

// bare takes the refs out of what a client sees.
func bare(t *testing.T, v *View) string {
	keys, synced := v.Keys()
	if !synced {
		t.Error("no state has come")
	}
	return withoutRefs(t, keys)
}

func withoutRefs(t *testing.T, keys map[string][]json.RawMessage) string {
	t.Helper()
	list := map[string][]any{}
	for key, metas := range keys {
		for _, meta := range metas {
			var fields map[string]any
			if err := json.Unmarshal(meta, &fields); err != nil {
				t.Fatalf("%s: %v", meta, err)
			}
			if fields[refKey] == nil {
				t.Errorf("%s has no phx_ref", meta)
			}
			delete(fields, refKey)
			delete(fields, prevKey)
			list[key] = append(list[key], fields)
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (w *audience) bareList(t *testing.T) string {
	keys := map[string][]json.RawMessage{}
	for _, p := range w.List() {
		keys[p.Key] = append(keys[p.Key], p.Meta)
	}
	return withoutRefs(t, keys)
}

// Clients come, change and go at random, as fast as they like. What is listed is right
// at each moment, whoever looks sees the same when all is told, and no two diffs are
// closer than they should be.
func TestPresenceAtRandom(t *testing.T) {
	need.Bubbles(t, 100, 2000, atRandom)
}

func atRandom(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	keys := []string{"ann", "bob", "__proto__", "constructor", "toString", `a"b\`, "é"}[:1+r.IntN(7)]
	w := newAudience(t)
	type one struct {
		Here[int]
		key  string
		meta json.RawMessage
	}
	var all []*one // the reference: who is present, in the order of their last change
	for range 1 + r.IntN(80) {
		switch r.IntN(6) {
		case 0, 1:
			one := &one{key: keys[r.IntN(len(keys))], meta: json.RawMessage(fmt.Sprintf(`{"n":%d}`, r.IntN(3)))}
			w.Enter(&one.Here, one.key, one.meta)
			all = append(all, one)
		case 2:
			if len(all) > 0 {
				i := r.IntN(len(all))
				one := all[i]
				was := one.meta
				one.meta = json.RawMessage(fmt.Sprintf(`{"n":%d}`, r.IntN(3)))
				known := one.state == known
				if err := w.Update(&one.Here, one.meta); err != nil {
					t.Error(err)
				}
				if known && string(was) != string(one.meta) { // it goes behind the others of its key
					all = append(slices.Delete(all, i, i+1), one)
				}
			}
		case 3, 4:
			if len(all) > 0 {
				i := r.IntN(len(all))
				w.Leave(&all[i].Here)
				w.Leave(&all[i].Here) // a second time does nothing
				all = slices.Delete(all, i, i+1)
			}
		case 5:
			if r.IntN(2) == 0 {
				w.look(t)
			} else {
				time.Sleep(time.Duration(r.IntN(250)) * time.Millisecond)
			}
			synctest.Wait()
		}
		want := map[string][]json.RawMessage{}
		for _, one := range all {
			want[one.key] = append(want[one.key], one.present.Meta)
		}
		if got, want := w.bareList(t), withoutRefs(t, want); got != want {
			t.Fatalf("listed: got %s, want %s", got, want)
		}
	}
	pass(2 * Pause)
	w.look(t)
	for i, v := range w.views {
		if got, want := bare(t, v), w.bareList(t); got != want {
			t.Errorf("client %d of %d sees %s, want %s", i, len(w.views), got, want)
		}
	}
	for i, d := range w.diffs {
		if i > 0 && d.at.Sub(w.diffs[i-1].at) < Pause {
			t.Errorf("two diffs within %v", d.at.Sub(w.diffs[i-1].at))
		}
	}
	for _, one := range all {
		w.Leave(&one.Here)
	}
	pass(2 * Pause)
	if got := string(payloadOf(t, w.State())); got != "{}" || len(w.keys)+len(w.list)+w.bytes != 0 {
		t.Errorf("when all have gone: got %s of %d bytes, want {} of 0", got, w.bytes)
	}
	w.Close()
}

// Clients come, change and go at once, while others list and look: nobody is left.
func TestPresenceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		w.look(t)
		var clients sync.WaitGroup
		for n := range 8 {
			clients.Go(func() {
				for i := range 50 {
					h := &Here[int]{}
					w.Enter(h, fmt.Sprint("key", n%3), json.RawMessage(`{}`))
					time.Sleep(time.Duration(i%7*n) * time.Millisecond)
					if err := w.Update(h, json.RawMessage(`{"n":1}`)); err != nil {
						t.Error(err)
					}
					if list := w.List(); !slices.ContainsFunc(list, func(p broker.Present) bool { return strings.HasPrefix(string(p.Meta), `{"n":1`) }) {
						t.Errorf("got %v, want who has just come", list)
					}
					w.State()
					w.Leave(h)
				}
			})
		}
		clients.Wait()
		pass(2 * Pause)
		if got := w.bareList(t); got != "{}" || bare(t, w.views[0]) != "{}" {
			t.Errorf("listed %s, and seen %s, want nobody", got, bare(t, w.views[0]))
		}
	})
}

// pass lets time pass, and waits for what happens then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// enter makes ann present, whose diff is out when it returns.
func (w *audience) enter(meta string) *Here[int] {
	h := &Here[int]{}
	w.Enter(h, "ann", json.RawMessage(meta))
	pass(2 * Pause)
	return h
}

// last returns the last diff, without its refs but for which is which.
func (w *audience) last(t *testing.T) string {
	t.Helper()
	if len(w.diffs) == 0 {
		return ""
	}
	d := w.diffs[len(w.diffs)-1].payload
	w.diffs = nil
	seen := map[string]string{}
	for i := 0; ; i++ { // in the order in which they appear
		at := strings.Index(d, w.refs.prefix)
		if at < 0 {
			return d
		}
		end := at + strings.IndexByte(d[at:], '"')
		seen[d[at:end]] = fmt.Sprint("#", len(seen))
		d = strings.ReplaceAll(d, `"`+d[at:end]+`"`, `"`+seen[d[at:end]]+`"`)
	}
}

func TestAnUpdateIsOneDiff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		ann := w.enter(`{"at":1}`)
		if got, want := w.last(t), `{"joins":{"ann":{"metas":[{"at":1,"phx_ref":"#0"}]}},"leaves":{}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for n := 2; n < 9; n++ { // of many the last
			if err := w.Update(ann, json.RawMessage(fmt.Sprintf(`{"at":%d}`, n))); err != nil {
				t.Error(err)
			}
		}
		pass(Pause)
		if got, want := w.last(t), `{"joins":{"ann":{"metas":[{"at":8,"phx_ref":"#0","phx_ref_prev":"#1"}]}},"leaves":{"ann":{"metas":[{"at":1,"phx_ref":"#1"}]}}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := w.Update(ann, json.RawMessage(`{"at":8}`)); err != nil {
			t.Error(err)
		}
		pass(Pause)
		if got := w.last(t); got != "" {
			t.Errorf("the same again: got %s, want nothing", got)
		}
		w.Leave(ann)
		if err := w.Update(ann, json.RawMessage(`{}`)); !errors.Is(err, ErrLeft) {
			t.Errorf("after the leave: got %v, want %v", err, ErrLeft)
		}
		w.Enter(ann, "ann", json.RawMessage(`{}`)) // its join was failed before it got here
		if err := w.Update(&Here[int]{}, json.RawMessage(`{}`)); !errors.Is(err, ErrAbsent) {
			t.Errorf("before it is present: got %v, want %v", err, ErrAbsent)
		}
		if got := w.bareList(t); got != "{}" {
			t.Errorf("got %s, want nobody", got)
		}
		pass(Pause)
	})
}

func TestTheFirstDiffWaitsALullAndOthersAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		began := time.Now()
		storm := make([]Here[int], 1000)
		for i := range storm {
			w.Enter(&storm[i], fmt.Sprint(i), json.RawMessage(`{}`))
			time.Sleep(time.Millisecond)
		}
		pass(Pause)
		var at []time.Duration
		for _, d := range w.diffs {
			at = append(at, d.at.Sub(began))
		}
		var want []time.Duration
		for d := Lull; d <= 1010*time.Millisecond; d += Pause {
			want = append(want, d)
		}
		if !slices.Equal(at, want) {
			t.Errorf("diffs at %v, want at %v", at, want)
		}
	})
}

func TestWhoComesAndGoesBetweenTwoDiffsIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		w.enter(`{}`)
		w.diffs = nil
		for range 3 {
			h := &Here[int]{}
			w.Enter(h, "bob", json.RawMessage(`{}`))
			w.Leave(h)
			pass(Pause)
		}
		if len(w.diffs) != 0 {
			t.Errorf("got %v, want nothing", w.diffs)
		}
	})
}

// A client that joins again within the lull is never gone for those who look.
func TestWhoJoinsAgainIsNotSeenToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		ann := w.enter(`{}`)
		w.last(t)
		w.Leave(ann)
		w.enter(`{}`)
		if got, want := w.last(t), `{"joins":{"ann":{"metas":[{"phx_ref":"#0"}]}},"leaves":{"ann":{"metas":[{"phx_ref":"#1"}]}}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// An announcement that waits for those who write holds up nobody, and what is in it is
// listed meanwhile.
func TestNobodyWaitsForAnAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		w.waiting = make(chan struct{})
		ann, bob := &Here[int]{}, &Here[int]{}
		w.Enter(ann, "ann", json.RawMessage(`{}`))
		pass(Pause)
		if got := w.bareList(t); got != `{"ann":[{}]}` {
			t.Errorf("got %s, want ann", got)
		}
		w.Enter(bob, "bob", json.RawMessage(`{}`))
		w.Leave(ann)
		if got := w.bareList(t); got != `{"bob":[{}]}` {
			t.Errorf("got %s, want bob alone", got)
		}
		for range 2 {
			w.waiting <- struct{}{}
			pass(Pause)
		}
		if got := string(payloadOf(t, w.State())); !strings.HasPrefix(got, `{"bob":`) || strings.Contains(got, "ann") {
			t.Errorf("got %s, want bob alone", got)
		}
	})
}

func TestAClosedWindowTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAudience(t)
		w.Enter(&Here[int]{}, "ann", json.RawMessage(`{}`))
		w.Close()
		if err := w.tasks.Wait(t.Context()); err != nil { // nothing holds them
			t.Error(err)
		}
		pass(Pause)
		if len(w.diffs) != 0 {
			t.Errorf("got %v, want nothing", w.diffs)
		}
	})
}

// A state is made once for all who come between two changes.
func TestAStateIsShared(t *testing.T) {
	r := NewRoster("a")
	change := func(ref string) broker.Change {
		return broker.Change{Joins: []broker.Present{{Key: "ann", Ref: ref, Meta: json.RawMessage(`{"phx_ref":"` + ref + `"}`)}}}
	}
	r.Apply(change("1"))
	first := r.State()
	if r.Apply(change("1")) != nil || r.State() != first {
		t.Error("a change that is known makes another state")
	}
	if r.Apply(broker.Change{Leaves: []broker.Present{{Key: "ann", Ref: "9"}, {Key: "bob", Ref: "1"}}}) != nil {
		t.Error("who is not there leaves")
	}
	if r.Apply(change("2")) == nil || r.State() == first {
		t.Error("a change makes no other state")
	}
}
