package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// client is a client of the chime dialect on the stream and POST, as small as
// docs/protocol.md allows.
type client struct {
	t      *testing.T
	mount  string
	http   *http.Client
	pass   string // "" of an anonymous one
	secret string
	sent   int
	frames chan []json.RawMessage // all but those about the connection; closed at the stream's end
}

// enter is a guest at the door, who is given a pass.
func enter(t *testing.T, server, name string) (pass string, who guest) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(server+"/enter", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections() // the next server may have the address of this one
	defer resp.Body.Close()
	var answer struct {
		guest
		Pass string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("enter %s: got %s, %v; want 201", name, resp.Status, err)
	}
	return answer.Pass, answer.guest
}

// connect opens a client socket at the server's /socket, with the pass of a guest or
// without one. Its end comes with that of the test.
func connect(t *testing.T, server, pass string) *client {
	t.Helper()
	transport := &http.Transport{}
	c := &client{t: t, mount: server + "/socket", http: &http.Client{Transport: transport}, pass: pass, frames: make(chan []json.RawMessage, 1000)}
	req, err := http.NewRequest(http.MethodGet, c.mount+"/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Chime-Received", "0")
	c.sign(req)
	resp, err := c.http.Do(req) //nolint:bodyclose // by the cleanup below, at the test's end
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("open the stream: got %s, want 200", resp.Status)
	}
	hello := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.frames)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data:")
			var f []json.RawMessage
			if !ok || json.Unmarshal([]byte(data), &f) != nil || len(f) != 5 {
				continue
			}
			switch topic, event := string(f[2]), string(f[3]); {
			case topic == `"chime"` && event == `"hello"`:
				hello <- string(f[4])
			case strings.HasPrefix(event, `"presence_`): // of everybody who comes and goes
			case topic != `"chime"` && topic != `"phoenix"`:
				c.frames <- f
			}
		}
	}()
	t.Cleanup(func() {
		resp.Body.Close()
		<-done
		transport.CloseIdleConnections()
	})
	var h struct{ Secret string }
	if err := json.Unmarshal([]byte(receive(t, hello)), &h); err != nil || h.Secret == "" {
		t.Fatalf("hello: got %q, %v; want a secret", h.Secret, err)
	}
	c.secret = h.Secret
	return c
}

func (c *client) sign(req *http.Request) {
	if c.pass != "" {
		req.Header.Set("Authorization", "Bearer "+c.pass)
	}
}

// send posts one frame and returns its ref.
func (c *client) send(room, event, payload string) string {
	c.t.Helper()
	c.sent++
	ref := fmt.Sprint(c.sent)
	body := fmt.Sprintf(`{"first":%d,"received":0,"frames":[[%q,%q,%q,%q,%s]]}`, c.sent, room, ref, "chat_room:"+room, event, payload)
	req, err := http.NewRequest(http.MethodPost, c.mount+"/sse", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Chime-Secret", c.secret)
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		c.t.Fatalf("post %s: got %s %s, want 200", body, resp.Status, answer)
	}
	return ref
}

func (c *client) join(room string) {
	c.t.Helper()
	ref := c.send(room, "phx_join", "{}")
	if got := c.wantEvent("phx_reply"); got["status"] != "ok" {
		c.t.Fatalf("join %s of %s: got %v, want ok", ref, room, got)
	}
}

// settle waits until the room has announced c, whose messages wait for that. It has
// joined a room in which nothing was said.
func (c *client) settle(room string) {
	c.t.Helper()
	c.send(room, "echo", `{}`)
	c.want("phx_reply", `{"status":"ok","response":{}}`)
}

// wantEvent returns the payload of the next frame, which must have the event.
func (c *client) wantEvent(event string) map[string]any {
	c.t.Helper()
	f := receive(c.t, c.frames)
	if f == nil {
		c.t.Fatalf("the stream ended, want %s", event)
	}
	if got := string(f[3]); got != `"`+event+`"` {
		c.t.Fatalf("got %s %s, want %s", got, f[4], event)
	}
	var payload map[string]any
	if err := json.Unmarshal(f[4], &payload); err != nil {
		c.t.Fatalf("payload of %s: %v", event, err)
	}
	return payload
}

// want checks that the next frame is the event with this payload, where "at" is
// set aside if it is a time.
func (c *client) want(event, payload string) {
	c.t.Helper()
	got := c.wantEvent(event)
	if at, ok := got["at"].(float64); ok && at > 1e12 {
		delete(got, "at")
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(payload), &want); err != nil {
		c.t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		c.t.Errorf("%s: got %v, want %v", event, got, want)
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	for {
		if f := receive(c.t, c.frames); f == nil {
			return
		}
	}
}
