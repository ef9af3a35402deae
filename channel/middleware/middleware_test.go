package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/channel/middleware"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// room echoes, waits until its context ends, or fails.
type room struct{ channel.NothingOnLeave }

func (room) HandleJoined(ctx context.Context, s *channel.Socket, m channel.Message) (channel.Accepted, error) {
	switch s.Topic() {
	case "slow":
		<-ctx.Done()
		return channel.Accepted{}, ctx.Err()
	case "closed":
		return channel.Accepted{}, channel.Refuse("members only")
	case "forgotten":
		return channel.Accepted{}, nil
	}
	return channel.Accept(nil), nil
}

func (room) HandleMessage(ctx context.Context, _ *channel.Socket, m channel.Message) (any, error) {
	switch m.Event {
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "late": // and has its answer all the same
		<-ctx.Done()
		return "late", nil
	case "fail":
		return nil, errors.New("the disk is full")
	case "veto":
		return nil, channel.Refuse("for moderators")
	}
	return m.Event, nil
}

func TestATimeoutIsToldAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "*", room{}, channel.Use(middleware.Timeout(time.Second)))
		began := time.Now()
		hub.Connect(transport.Identity{}).WantRefused("slow", nil, "timeout")
		ann := hub.Join("a", nil)
		ann.Push("slow", nil).WantError("timeout")
		ann.Push("late", nil).WantReply("late")
		ann.Push("fail", nil).WantError("internal")
		ann.Push("quick", nil).WantReply("quick")
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("three time-outs of a second took %v", took)
		}
	})
}

func TestMessagesBeyondTheLimitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := channeltest.New(t, "*", room{}, channel.Use(middleware.Limit(2, time.Second, "say")))
		ann, bob := hub.Join("a", nil), hub.Join("a", nil)
		for range 2 {
			ann.Push("say", nil).WantReply("say")
		}
		ann.Push("say", nil).WantError("rate_limited")
		ann.Push("other", nil).WantReply("other")
		bob.Push("say", nil).WantReply("say") // who has a limit of their own
		time.Sleep(500 * time.Millisecond)
		ann.Push("say", nil).WantReply("say")
		ann.Push("say", nil).WantError("rate_limited")
	})
}

func TestWhoMaySendAnEventIsAsked(t *testing.T) {
	hub := channeltest.New(t, "*", room{}, channel.Use(middleware.Allow(func(_ context.Context, s *channel.Socket, m channel.Message) error {
		switch s.Identity().ID {
		case "mod":
			return nil
		case "":
			return errors.New("no database")
		}
		return channel.Refuse(m.Event + " is for moderators")
	}, "ban", "delete")))
	for id, reason := range map[string]string{"ann": "ban is for moderators", "": "internal"} {
		in := hub.Connect(transport.Identity{ID: id}).Join("a", nil)
		in.Push("ban", nil).WantError(reason)
		in.Push("say", nil).WantReply("say")
	}
	hub.Connect(transport.Identity{ID: "mod"}).Join("a", nil).Push("ban", nil).WantReply("ban")
}

func TestTheLogHasWhatClientsDoAndNoPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		hub := channeltest.New(t, "*", room{}, channel.Use(middleware.Log(log), middleware.Timeout(time.Second)))
		ann := hub.Connect(transport.Identity{ID: "ann"})
		ann.WantRefused("closed", map[string]string{"password": "swordfish"}, "members only")
		ann.WantRefused("forgotten", nil, "not accepted")
		ann.WantRefused("slow", nil, "timeout")
		in := ann.Join("a", nil)
		in.Push("say", map[string]string{"text": "swordfish"}).WantReply("say")
		in.Push("fail", nil).WantError("internal")
		in.Push("veto", nil).WantError("for moderators")
		in.Push("slow", nil).WantError("timeout")
		in.Leave()
		if err := hub.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(text.String()) {
			for _, want := range []string{"client=client-1", "identity=ann", "took="} {
				if !strings.Contains(line, want) {
					t.Errorf("%q lacks %s", line, want)
				}
			}
			_, line, _ = strings.Cut(line, "level=")
			line, _, _ = strings.Cut(line, " topic=")
			lines = append(lines, line)
		}
		want := []string{
			`DEBUG msg="join refused"`, `WARN msg="join not accepted"`, `WARN msg="join failed"`, "INFO msg=joined", // a client's mistake is Debug
			"DEBUG msg=message", `WARN msg="message failed"`, `DEBUG msg="message refused"`, `WARN msg="message failed"`, "INFO msg=left",
		}
		if strings.Join(lines, "; ") != strings.Join(want, "; ") {
			t.Errorf("got %q, want %q", lines, want)
		}
		if strings.Contains(text.String(), "swordfish") {
			t.Errorf("the log has a payload: %s", text.String())
		}
	})
}

func TestMistakesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"Timeout(0)":      func() { middleware.Timeout(0) },
		"Limit(0, 1s)":    func() { middleware.Limit(0, time.Second) },
		"Limit(1, 0)":     func() { middleware.Limit(1, 0) },
		"Allow(nil, ...)": func() { middleware.Allow(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic", name)
				}
			}()
			f()
		}()
	}
}
