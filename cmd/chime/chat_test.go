package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// openSite serves the chat, whose lifecycle lines go nowhere.
func openSite(t *testing.T, origins ...string) string {
	t.Helper()
	kept := store.NewMemory()
	handler, live, err := site(kept, origins, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(func() {
		if err := bounded(stopTime, live.Shutdown); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		srv.Close()
		kept.Close()
	})
	return srv.URL
}

func TestAnnouncesWhoComesAndGoes(t *testing.T) {
	url := openSite(t)
	ann := connect(t, url)
	ann.join("lobby", `{"name":"Ann"}`)
	bob := connect(t, url)
	bob.join("lobby", `{"name":"Bob"}`)
	ann.want("user_joined", `{"name":"Bob"}`)
	for _, silent := range []string{`{}`, `{"name":""}`, `{"name":null}`} {
		reader := connect(t, url)
		reader.join("lobby", silent)
		reader.send("lobby", "phx_leave", `{}`)
		reader.want("phx_reply", `{"status":"ok","response":{}}`)
	}
	bob.send("lobby", "phx_leave", `{}`)
	bob.want("phx_reply", `{"status":"ok","response":{}}`)
	ann.want("user_left", `{"name":"Bob"}`)
}

// A page that was reloaded without a network is there twice, until the grace
// period of its former client socket is over.
func TestWhoIsThereAgainHasNotLeft(t *testing.T) {
	hub := channeltest.New(t, "chat_room:{id}", &ChatRoom{log: slog.New(slog.DiscardHandler)})
	ann := hub.Join("chat_room:lobby", who{"Ann"})
	former, again := hub.Connect(transport.Identity{}), hub.Connect(transport.Identity{})
	for _, bob := range []*channeltest.Client{former, again} {
		bob.Join("chat_room:lobby", who{"Bob"})
		ann.WantBroadcast("user_joined", who{"Bob"})
	}
	former.Close(channel.Vanished)
	ann.WantNothing()
	again.Close(channel.Closed)
	ann.WantBroadcast("user_left", who{"Bob"})
	ann.WantNothing()
}

func TestKeepsMessagesButNotComingAndGoing(t *testing.T) {
	url := openSite(t)
	ann := connect(t, url)
	ann.join("lobby", `{"name":"Ann"}`)
	for i := range 60 {
		message := fmt.Sprintf(`{"name":"Ann","message":"%d","id":"a%d"}`, i, i)
		ann.send("lobby", "message_new", message)
		ann.want("message_new", message)
		ann.want("phx_reply", `{"status":"ok","response":{}}`)
	}
	bob := connect(t, url)
	bob.join("lobby", `{"name":"Bob"}`)
	for i := 10; i < 60; i++ {
		bob.want("message_new", fmt.Sprintf(`{"name":"Ann","message":"%d","id":"a%d"}`, i, i))
	}
	elsewhere := connect(t, url)
	elsewhere.join("attic", `{}`)
	elsewhere.send("attic", "echo", `{}`)
	elsewhere.want("phx_reply", `{"status":"ok","response":{}}`) // and nothing before it
}

func TestTakesAnyStrings(t *testing.T) {
	ann := connect(t, openSite(t))
	ann.join("lobby", `{}`)
	large := strings.Repeat("x", 60_000)
	for _, text := range []string{"", large, "a\nb\r\n\x00\x1b[2J\u2028\u2029\u202e", "data: x\n\nevent: y", "<b>&amp;", "\"\\", "😀"} {
		message, err := json.Marshal(map[string]string{"name": text[:min(len(text), 4)], "message": text, "id": ""})
		if err != nil {
			t.Fatal(err)
		}
		ann.send("lobby", "message_new", string(message))
		ann.want("message_new", string(message))
		ann.want("phx_reply", `{"status":"ok","response":{}}`)
	}
}

func TestGivesAMessageAnID(t *testing.T) {
	ann := connect(t, openSite(t))
	ann.join("lobby", `{}`)
	ann.send("lobby", "message_new", `{"name":"Ann","message":"hi"}`)
	if id, _ := ann.wantEvent("message_new")["id"].(string); len(id) < 16 {
		t.Errorf("got id %q, want one that nobody else has", id)
	}
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	url := openSite(t)
	ann, bystander := connect(t, url), connect(t, url)
	bystander.join("lobby", `{}`)
	for _, join := range []string{`{"name":7}`, `{"name":{}}`, `[]`, `"Ann"`} {
		ann.send("lobby", "phx_join", join)
		if got := ann.wantEvent("phx_reply"); got["status"] != "error" || whyRefused(got) == "" {
			t.Errorf("join %s: got %v, want an error with a reason", join, got)
		}
	}
	ann.join("lobby", `{}`)
	for _, message := range []string{`{}`, `{"name":"Ann"}`, `{"message":"hi"}`, `{"name":1,"message":"hi"}`,
		`{"name":"Ann","message":["hi"]}`, `{"name":"Ann","message":"hi","id":7}`, `{"name":null,"message":"hi"}`, `[]`, `null`, `7`} {
		ann.send("lobby", "message_new", message)
		if got := ann.wantEvent("phx_reply"); got["status"] != "error" || whyRefused(got) == "" {
			t.Errorf("message_new %s: got %v, want an error with a reason", message, got)
		}
	}
	ann.send("lobby", "no_such_event", `{}`)
	ann.want("phx_reply", `{"status":"error","response":{"reason":"unknown event: want message_new, echo or boom"}}`)
	bystander.send("lobby", "message_new", `{"name":"","message":"next","id":"1"}`)
	bystander.want("message_new", `{"name":"","message":"next","id":"1"}`)
}

func whyRefused(reply map[string]any) string {
	response, _ := reply["response"].(map[string]any)
	reason, _ := response["reason"].(string)
	return reason
}

func TestEchoesAndCrashesOnRequest(t *testing.T) {
	url := openSite(t)
	ann, bob := connect(t, url), connect(t, url)
	ann.join("lobby", `{"name":"Ann"}`)
	bob.join("lobby", `{"name":"Bob"}`)
	ann.want("user_joined", `{"name":"Bob"}`)
	bob.send("lobby", "echo", `{"a":[1,null,"é"]}`)
	bob.want("phx_reply", `{"status":"ok","response":{"a":[1,null,"é"]}}`)
	bob.send("lobby", "boom", `{}`)
	bob.want("phx_error", `{"reason":"channel_crash"}`)
	ann.want("user_left", `{"name":"Bob"}`)
	bob.join("lobby", `{"name":"Bob"}`)
	ann.want("user_joined", `{"name":"Bob"}`)
}

func TestAReaderWithoutHeadersSeesTheRoom(t *testing.T) {
	url := openSite(t)
	post(t, url, `{"name":"Ann","message":"before"}`)
	tl := startTailOf(t, url+"/socket", "chat_room:lobby")
	tl.wantLines(t, `"message":"before"`)
	post(t, url, `{"name":"Ann","message":"after"}`)
	tl.wantLines(t, `"message":"after"`)
	tl.wantNoMore(t)
}

// post says something in the lobby through the HTTP handler.
func post(t *testing.T, url, message string) {
	t.Helper()
	resp, err := http.Post(url+"/rooms/lobby/messages", "application/json", bytes.NewBufferString(message))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections() // the next server may have the address of this one
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %s %s, want 201", resp.Status, answer)
	}
}
