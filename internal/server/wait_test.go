package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/internal/server"
)

// tab is a client that polls when it is told to, and what others wait for.
type tab struct {
	*polling
	name string
	app  *client
}

func openTabs(t *testing.T, b *bubble, n int) []*tab {
	t.Helper()
	tabs := make([]*tab, n)
	for i := range tabs {
		p, err := b.polling()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Vanish)
		var f [5]json.RawMessage
		var hello struct{ Wait string }
		if json.Unmarshal([]byte(p.frames[0]), &f) != nil || json.Unmarshal(f[4], &hello) != nil || hello.Wait == "" {
			t.Fatalf("got %s, want a hello with a name to wait for", p.frames[0])
		}
		p.frames = nil
		tabs[i] = &tab{p, hello.Wait, <-b.clients}
	}
	return tabs
}

// answered is an answer to a wait.
type answered struct {
	status int
	ids    []string
	text   string
	after  time.Duration
}

// waits asks which of them should poll.
func (p *tab) waits(ids []string, header ...string) <-chan answered {
	came, begun := make(chan answered, 1), time.Now()
	body, _ := json.Marshal(map[string]any{"ids": ids})
	go func() {
		status, text, err := p.post("/wait", string(body), header...)
		if err != nil {
			text = err.Error()
		}
		var got struct{ IDs []string }
		_ = json.Unmarshal([]byte(text), &got)
		came <- answered{status, got.IDs, text, time.Since(begun)}
	}()
	return came
}

func (p *tab) wantWait(t *testing.T, came <-chan answered, after time.Duration, ids ...string) {
	t.Helper()
	got := inTime(t, came, "answer to a wait")
	if got.status != http.StatusOK || !slices.Equal(got.ids, ids) || got.after != after {
		t.Errorf("after %v got %d %s, want after %v 200 with %q", got.after, got.status, got.text, after, ids)
	}
}

func namesOf(tabs []*tab) (ids []string) {
	for _, p := range tabs {
		ids = append(ids, p.name)
	}
	return ids
}

func TestAWaitIsAnsweredWhenOneOfItsClientsHasSomethingToPoll(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 3)
		ids := namesOf(tabs)
		leader := tabs[0]
		leader.wantWait(t, leader.waits(ids), 20*time.Second)
		leader.wantWait(t, leader.waits(ids, "Chime-Hold: 3000"), 3*time.Second)
		for range 2 { // what it was told once does not make it deaf
			came := leader.waits(ids)
			time.Sleep(time.Second)
			say(t, tabs[1].app)
			leader.wantWait(t, came, time.Second, ids[1])
			leader.wantWait(t, leader.waits(ids), 0, ids[1]) // until it has polled
			if text, err := tabs[1].Next(); text != said {
				t.Fatalf("got %s and error %v, want %s", text, err, said)
			}
		}
		for _, p := range tabs { // within the time of silence
			if _, err := p.ask(t.Context(), p.received, "Chime-Hold: 0"); err != nil {
				t.Fatal(err)
			}
		}
		came := leader.waits(ids)
		synctest.Wait()
		b.server.Disconnect("", "enough")
		got := inTime(t, came, "answer to a wait")
		if got.after != 0 || len(got.ids) == 0 {
			t.Errorf("after %v got %s, want at once those that are told why they end", got.after, got.text)
		}
		time.Sleep(time.Minute)
		leader.wantWait(t, leader.waits(ids[2:]), 0, ids[2]) // unknown by now
	})
}

func TestAWaitTellsWhoIsNotPolledAnyMore(t *testing.T) {
	inBubble(t, network{}, server.Config{Grace: time.Minute}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 2)
		say(t, tabs[1].app)
		if text, err := tabs[1].Next(); text != said {
			t.Fatalf("got %s and error %v, want %s", text, err, said)
		}
		came := tabs[0].waits(namesOf(tabs))
		time.Sleep(time.Second)
		es, err := b.stream("/sse", "Chime-Received: 1", "Chime-Secret: "+tabs[1].secret)
		if err != nil {
			t.Fatal(err)
		}
		defer es.Vanish()
		text, err := es.text()
		if es.secret = secretIn(text); err != nil || es.secret == "" {
			t.Fatalf("got %s and error %v, want hello", text, err)
		}
		if status, text, err := es.post("/sse", `{"first":1,"received":1,"frames":[]}`, "Chime-Secret: "+es.secret); status != http.StatusOK {
			t.Fatalf("the POST that promotes: %d %s %v", status, text, err)
		}
		tabs[0].wantWait(t, came, time.Second, tabs[1].name)
	})
}

// A client that nobody hears of any more is gone, though others wait for it.
func TestAWaitIsNoSignOfLifeOfThoseItIsFor(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 2)
		begun := time.Now()
		for time.Since(begun) < 35*time.Second {
			_, _ = tabs[0].ask(t.Context(), 0, "Chime-Hold: 0")
			<-tabs[0].waits(namesOf(tabs), "Chime-Hold: 10000")
		}
		wantDeparture(t, tabs[1].app, begun, 35*time.Second, "vanished")
	})
}

func TestOfTwoWaitsForAClientTheLaterIsTold(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 2)
		one := tabs[0].waits(namesOf(tabs))
		synctest.Wait()
		two := tabs[1].waits(namesOf(tabs)[:1])
		synctest.Wait()
		time.Sleep(time.Second)
		say(t, tabs[0].app)
		tabs[1].wantWait(t, two, time.Second, tabs[0].name)
		say(t, tabs[1].app)
		tabs[0].wantWait(t, one, time.Second, tabs[0].name, tabs[1].name) // both are due when it looks
	})
}

// So there are never more waits that are parked than clients.
func TestAWaitThatIsToldOfNobodyEnds(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 2)
		came := tabs[0].waits(namesOf(tabs))
		for _, p := range tabs {
			synctest.Wait()
			p.waits([]string{p.name})
		}
		tabs[0].wantWait(t, came, 0)
	})
}

func TestWhichWaitsAreRefused(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		p := openTabs(t, b, 1)[0]
		for _, test := range []struct {
			body   string
			status int
			header string
		}{
			{`{"ids":[]}`, http.StatusBadRequest, ""},
			{`{"ids":[1]}`, http.StatusBadRequest, ""},
			{`{}`, http.StatusBadRequest, ""},
			{`["x"]`, http.StatusBadRequest, ""},
			{``, http.StatusBadRequest, ""},
			{`{"ids":["` + strings.Repeat(`x","`, 64) + `"]}`, http.StatusBadRequest, ""},
			{`{"ids":["` + strings.Repeat("x", 5000) + `"]}`, http.StatusRequestEntityTooLarge, ""},
			{`{"ids":["x"]}`, http.StatusForbidden, "Origin: https://evil.example"},
			{`{"ids":["x"]}`, http.StatusBadRequest, "Chime-Hold: soon"},
			{`{"ids":["x"]}`, http.StatusOK, ""},
		} {
			var header []string
			if test.header != "" {
				header = []string{test.header}
			}
			if status, text, err := p.post("/wait", test.body, header...); status != test.status || err != nil {
				t.Errorf("%.60s %s: got %d %s %v, want %d", test.body, test.header, status, text, err, test.status)
			}
		}
		// The name is no secret, and opens nothing.
		if status, text, err := p.post("/poll", `{"first":1,"frames":[]}`, "Chime-Secret: "+p.name); status != http.StatusGone {
			t.Errorf("a POST with the name: got %d %s %v, want 410", status, text, err)
		}
	})
}

func TestAWaitGivesUpWithItsClientAndWithTheServer(t *testing.T) {
	inBubble(t, network{}, server.Config{}, nil, func(t *testing.T, b *bubble) {
		tabs := openTabs(t, b, 2)
		came := tabs[0].waits(namesOf(tabs))
		synctest.Wait()
		tabs[0].Vanish()
		<-came
		came = tabs[1].waits(namesOf(tabs[1:]))
		synctest.Wait()
		begun := time.Now()
		go func() { _, _ = tabs[1].Next() }() // or the farewell would wait for it
		if err := b.server.Shutdown(t.Context()); err != nil || time.Since(begun) > 6*time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begun))
		}
		<-came
	})
}
