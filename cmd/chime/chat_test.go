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
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/transport"
)

// openSite serves the chat, whose lifecycle lines go nowhere.
func openSite(t *testing.T, origins ...string) string {
	t.Helper()
	kept := store.NewMemory()
	handler, live, err := site(door(t), origins, slog.New(slog.DiscardHandler), chime.WithStore(kept))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(func() {
		if err := bounded(time.Now().Add(stopTime), live.Shutdown); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		srv.Close()
		kept.Close()
	})
	return srv.URL
}

func TestAnnouncesWhoComesAndGoes(t *testing.T) {
	hub := openRoom(t)
	ann := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil)
	bob := hub.Connect(ident("Bob")).Join("chat_room:lobby", nil)
	ann.WantBroadcast("user_joined", here{Name: "Bob"})
	reader := hub.Connect(transport.Identity{})
	reader.Join("chat_room:lobby", nil)
	ann.WantBroadcast("user_joined", here{Name: "guest clie"}) // for the first letters of its ID
	reader.Close(channel.Vanished)
	ann.WantBroadcast("user_left", here{Name: "guest clie"})
	bob.Leave()
	ann.WantBroadcast("user_left", here{Name: "Bob"})
}

// openRoom is a hub with rooms as the site has them.
func openRoom(t *testing.T) *channeltest.Hub {
	t.Helper()
	hub := channeltest.Open(t, channel.Config{})
	addRooms(hub, slog.New(slog.DiscardHandler))
	return hub
}

// ident is the identity of a guest, whose ID is the name.
func ident(name string) transport.Identity {
	return transport.Identity{ID: name, Value: guest{name, name}}
}

// A page that was reloaded without a network is there twice, until the grace
// period of its former client socket is over.
func TestWhoIsThereAgainHasNotLeft(t *testing.T) {
	hub := openRoom(t)
	ann := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil)
	former, again := hub.Connect(ident("Bob")), hub.Connect(ident("Bob"))
	former.Join("chat_room:lobby", nil)
	ann.WantBroadcast("user_joined", here{Name: "Bob"})
	again.Join("chat_room:lobby", nil)
	former.Close(channel.Vanished)
	again.Join("chat_room:attic", nil) // what was told before has come
	again.Close(channel.Closed)
	ann.WantBroadcast("user_left", here{Name: "Bob"})
}

func TestKeepsMessagesButNotComingAndGoing(t *testing.T) {
	url := openSite(t)
	pass, who := enter(t, url, "Ann")
	ann := connect(t, url, pass)
	ann.join("lobby")
	for i := range 60 {
		ann.send("lobby", "message_new", fmt.Sprintf(`{"message":"%d","id":"a%d"}`, i, i))
		ann.want("message_new", fmt.Sprintf(`{"name":"Ann","by":%q,"message":"%d","id":"a%d"}`, who.ID, i, i))
		ann.want("phx_reply", `{"status":"ok","response":{}}`)
	}
	bob := connect(t, url, "")
	bob.join("lobby")
	for i := 10; i < 60; i++ {
		bob.want("message_new", fmt.Sprintf(`{"name":"Ann","by":%q,"message":"%d","id":"a%d"}`, who.ID, i, i))
	}
	elsewhere := connect(t, url, "")
	elsewhere.join("attic")
	elsewhere.send("attic", "echo", `{}`)
	elsewhere.want("phx_reply", `{"status":"ok","response":{}}`) // and nothing before it
}

// Whatever a page says of itself, its pass says who speaks.
func TestTheRoomSaysWhoSpeaks(t *testing.T) {
	hub := openRoom(t)
	ann := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil)
	ann.Push("message_new", object{"name": "Bob", "by": "Bob", "message": "hi", "id": "1"}).WantReply(nil)
	if got := lastSaid(t, hub); got.Name != "Ann" || got.By != "Ann" || got.Message != "hi" || got.ID != "1" {
		t.Errorf("got %+v, want a message of Ann's", got)
	}
	nobody := hub.Join("chat_room:lobby", nil)
	nobody.Push("message_new", object{"message": "hi"}).WantReply(nil)
	if got := lastSaid(t, hub); got.Name != "guest clie" || got.By == "" || len(got.ID) < 16 {
		t.Errorf("got %+v, want one of a guest, with an ID that nobody else has", got)
	}
}

type object = map[string]any

func lastSaid(t *testing.T, hub *channeltest.Hub) (last said) {
	t.Helper()
	messages, _, err := hub.History(t.Context(), "chat_room:lobby", 1)
	if err != nil || len(messages) != 1 {
		t.Fatalf("got %v and error %v, want a message", messages, err)
	}
	if err := json.Unmarshal(messages[0].Payload, &last); err != nil {
		t.Fatal(err)
	}
	return last
}

func TestAMessageIsTakenBackByWhoSaidIt(t *testing.T) {
	hub := openRoom(t)
	ann := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil)
	ann.Push("message_new", object{"message": "hi"}).WantReply(nil)
	messages, _, err := hub.History(t.Context(), "chat_room:lobby", 1)
	if err != nil {
		t.Fatal(err)
	}
	hi := object{"offset": messages[0].Offset}
	bob := hub.Connect(ident("Bob")).Join("chat_room:lobby", nil)
	bob.Push("message_delete", hi).WantError("this message is not yours")
	ann.Push("message_delete", object{"offset": messages[0].Offset + 1}).WantError("there is no such message any more")
	ann.Push("message_delete", object{}).WantError("malformed payload: offset: missing")
	again := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil) // in another tab
	again.Push("message_delete", hi).WantReply(nil)
	bob.WantBroadcast("message_redacted", hi)
	ann.Push("message_delete", hi).WantError("there is no such message any more")
}

func TestWhoTypesIsShown(t *testing.T) {
	hub := openRoom(t)
	ann := hub.Connect(ident("Ann")).Join("chat_room:lobby", nil)
	ann.Push("typing", object{"typing": true}).WantReply(nil)
	list, err := hub.Presence(t.Context(), "chat_room:lobby")
	if err != nil || len(list) != 1 || list[0].Key != "Ann" || !strings.Contains(string(list[0].Metas[0]), `"name":"Ann","typing":true`) {
		t.Errorf("got %v and error %v, want Ann, who types", list, err)
	}
}

func TestTakesAnyStrings(t *testing.T) {
	url := openSite(t)
	pass, who := enter(t, url, "Ann")
	ann := connect(t, url, pass)
	ann.join("lobby")
	large := strings.Repeat("x", 60_000)
	for _, text := range []string{"", large, "a\nb\r\n\x00\x1b[2J\u2028\u2029\u202e", "data: x\n\nevent: y", "<b>&amp;", "\"\\", "😀"} {
		message, err := json.Marshal(map[string]string{"name": "Ann", "by": who.ID, "message": text, "id": text[:min(len(text), 4)] + "."})
		if err != nil {
			t.Fatal(err)
		}
		ann.send("lobby", "message_new", string(message))
		ann.want("message_new", string(message))
		ann.want("phx_reply", `{"status":"ok","response":{}}`)
	}
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	url := openSite(t)
	ann, bystander := connect(t, url, ""), connect(t, url, "")
	bystander.join("lobby")
	bystander.settle("lobby")
	ann.join("lobby")
	if got := bystander.wantEvent("user_joined"); !strings.HasPrefix(fmt.Sprint(got["name"]), nobody) {
		t.Errorf("got %v, want a guest", got)
	}
	for _, message := range []string{`{}`, `{"name":"Ann"}`, `{"message":7}`, `{"message":["hi"]}`, `{"message":null}`, `{"message":"hi","id":7}`, `[]`, `null`, `7`} {
		ann.send("lobby", "message_new", message)
		if got := ann.wantEvent("phx_reply"); got["status"] != "error" || whyRefused(got) == "" {
			t.Errorf("message_new %s: got %v, want an error with a reason", message, got)
		}
	}
	ann.send("lobby", "no_such_event", `{}`)
	ann.want("phx_reply", `{"status":"error","response":{"reason":"unknown event"}}`)
	bystander.send("lobby", "echo", `{}`)
	bystander.want("phx_reply", `{"status":"ok","response":{}}`) // it was sent nothing of all that
}

func whyRefused(reply map[string]any) string {
	response, _ := reply["response"].(map[string]any)
	reason, _ := response["reason"].(string)
	return reason
}

func TestEchoesAndCrashesOnRequest(t *testing.T) {
	url := openSite(t)
	annsPass, _ := enter(t, url, "Ann")
	bobsPass, _ := enter(t, url, "Bob")
	ann, bob := connect(t, url, annsPass), connect(t, url, bobsPass)
	ann.join("lobby")
	ann.settle("lobby")
	bob.join("lobby")
	ann.want("user_joined", `{"name":"Bob"}`)
	bob.send("lobby", "echo", `{"a":[1,null,"é"]}`)
	bob.want("phx_reply", `{"status":"ok","response":{"a":[1,null,"é"]}}`)
	bob.send("lobby", "boom", `{}`)
	bob.want("phx_error", `{"reason":"channel_crash"}`)
	ann.want("user_left", `{"name":"Bob"}`)
	bob.join("lobby")
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
