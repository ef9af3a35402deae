//go:build linux

package docs_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// pollClient is a client that polls, on one connection that is kept.
type pollClient struct {
	b       *testing.B
	addr    string
	conn    net.Conn
	answers *bufio.Reader
	request string // the next poll
}

func (p *pollClient) ask() {
	if _, err := io.WriteString(p.conn, p.request); err != nil {
		p.b.Fatal(err)
	}
}

// answered polls, and returns what the answer has between two texts.
func (p *pollClient) answered(before, after string) string {
	p.ask()
	res, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		p.b.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		p.b.Fatal(err)
	}
	_, rest, found := strings.Cut(string(body), before)
	text, _, closed := strings.Cut(rest, after)
	if !found || !closed {
		p.b.Fatalf("got %s %s, want something between %s and %s", res.Status, body, before, after)
	}
	return text
}

// joinChime opens a client socket, joins, and reads the reply.
func (p *pollClient) joinChime() {
	get := func(header string) {
		p.request = "GET /socket/poll HTTP/1.1\r\nHost: " + p.addr + "\r\n" + header + "\r\n"
	}
	get("Chime-Received: 0\r\n")
	secret := p.answered(`"secret":"`, `"`)
	postIdle(p.b, "http://"+p.addr+"/socket/poll", "Chime-Secret", secret, `{"first":1,"received":0,"frames":[["1","1","room:1","phx_join",{}]]}`)
	for received := range 2 {
		if get(fmt.Sprintf("Chime-Secret: %s\r\nChime-Received: %d\r\n", secret, received)); received == 0 {
			p.answered(`"status":"`, `"`)
		}
	}
}

// joinPhoenix is joinChime in Phoenix's dialect.
func (p *pollClient) joinPhoenix() {
	get := func(token string) {
		p.request = "GET /socket/longpoll?vsn=2.0.0&token=" + token + " HTTP/1.1\r\nHost: " + p.addr + "\r\n\r\n"
	}
	get("")
	token := p.answered(`"token":"`, `"`)
	postIdle(p.b, "http://"+p.addr+"/socket/longpoll?vsn=2.0.0", "X-Phoenix-Longpoll-Token", token, `["1","1","room:1","phx_join",{}]`)
	get(token)
	get(p.answered(`"token":"`, `"`)) // of the reply that has what became of the join
}

// plain is no client of chime: it asks for something that net/http answers, or parks.
func (p *pollClient) plain() {
	request := "GET /http HTTP/1.1\r\nHost: " + p.addr + "\r\n"
	p.request = request + "\r\n"
	p.answered("<", ">")
	p.request = request + "Parked: 1\r\n\r\n"
}
