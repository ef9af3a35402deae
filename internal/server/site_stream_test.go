package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// stream is an event stream and its POSTs, read through net/http so that it is
// the same over HTTP/1 and HTTP/2.
type stream struct {
	site   *site
	client *http.Client
	cancel context.CancelFunc
	head   *http.Response
	r      *bufio.Reader
	secret string
	target string // of its POSTs

	mu    sync.Mutex // guards what follows
	conns []net.Conn
	first uint64 // the number of the next frame

	posting sync.Mutex // held while a POST is under way: only then are they in order
}

// requester makes what can send requests, and has no event stream yet.
func (s *site) requester(target string) *stream {
	es := &stream{site: s, first: 1, target: target}
	carrier := &http.Transport{
		DialContext:     es.dial,
		TLSClientConfig: s.trust.Clone(), // it adds to it
		HTTP2:           &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10},
		Protocols:       new(http.Protocols),
	}
	carrier.Protocols.SetHTTP1(!s.http2)
	carrier.Protocols.SetHTTP2(s.http2)
	carrier.Protocols.SetUnencryptedHTTP2(s.http2 && s.trust == nil)
	es.client = &http.Client{Transport: carrier}
	es.cancel = func() {}
	return es
}

// stream asks for an event stream. Header is a list of "Name: value".
func (s *site) stream(target string, header ...string) (*stream, error) {
	es := s.requester("/sse")
	ctx, cancel := context.WithCancel(context.Background())
	es.cancel = cancel
	res, err := es.request(ctx, http.MethodGet, target, "", header...) //nolint:bodyclose // its connection ends with Vanish
	if err != nil {
		es.Vanish()
		return nil, err
	}
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || kind != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		es.Vanish()
		return nil, refusedWith(fmt.Sprintf("%s %s %s", res.Status, kind, body), res)
	}
	es.head, es.r = res, bufio.NewReaderSize(res.Body, 16)
	return es, nil
}

func (es *stream) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := es.site.dial(ctx)
	if err != nil {
		return nil, err
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	es.conns = append(es.conns, conn)
	return patient{conn, es.site.patience}, nil
}

func (es *stream) request(ctx context.Context, method, target, body string, header ...string) (*http.Response, error) {
	scheme := "http://"
	if es.site.trust != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+es.site.address+target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	return es.client.Do(req)
}

// half opens a stream of the chime dialect.
func (s *site) half() (*stream, error) {
	es, err := s.stream("/sse", "Chime-Received: 0")
	if err != nil {
		return nil, err
	}
	text, err := es.text()
	if err != nil {
		es.Vanish()
		return nil, err
	}
	if es.secret = secretIn(text); es.secret != "" {
		return es, nil
	}
	// What Accept has sent comes before the hello, and is to be seen.
	es.r = bufio.NewReaderSize(io.MultiReader(strings.NewReader("data: "+text+"\n\n"), es.r), 16)
	return es, nil
}

// secretIn returns the secret of a hello, or "" of another frame.
func secretIn(text string) string {
	var f [5]json.RawMessage
	var hello struct{ Secret string }
	if json.Unmarshal([]byte(text), &f) != nil || string(f[3]) != `"hello"` || json.Unmarshal(f[4], &hello) != nil {
		return ""
	}
	return hello.Secret
}

// event returns the next event, as its lines.
func (es *stream) event() ([]string, error) {
	var lines []string
	for {
		line, err := es.r.ReadString('\n')
		if err != nil {
			if err == io.EOF && (line != "" || lines != nil) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		switch line = line[:len(line)-1]; {
		case line == "" && lines != nil:
			return lines, nil
		case line != "" && line[0] != ':':
			lines = append(lines, line)
		}
	}
}

// text returns the data of the next event, or what the last one says.
func (es *stream) text() (string, error) {
	for {
		lines, err := es.event()
		if err != nil {
			return "", err
		}
		for _, line := range lines {
			text, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				continue
			}
			if strings.HasPrefix(text, closedEvent) {
				end, err := endIn(text)
				if err != nil {
					return "", err
				}
				return "", end
			}
			return text, nil
		}
	}
}

// Next implements peer.
func (es *stream) Next() (string, error) {
	for {
		text, err := es.text()
		if err == nil && connectionFrame(text) {
			continue
		}
		end, said := errors.AsType[*End](err)
		if !said {
			return text, err
		}
		if rest, err := io.ReadAll(es.r); len(rest) > 0 || err != nil {
			return "", fmt.Errorf("after %w: got %q and error %w, want the end of the response", end, rest, err)
		}
		return "", end
	}
}

// Send implements peer.
func (es *stream) Send(frames ...string) error {
	es.posting.Lock()
	defer es.posting.Unlock()
	es.mu.Lock()
	body := fmt.Sprintf(`{"first":%d,"received":0,"frames":[%s]}`, es.first, strings.Join(frames, ","))
	es.mu.Unlock()
	status, answer, err := es.post(es.target, body, "Chime-Secret: "+es.secret)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("POST: %d %s", status, answer)
	}
	if err == nil {
		es.mu.Lock()
		es.first += uint64(len(frames))
		es.mu.Unlock()
	}
	return err
}

func (es *stream) post(target, body string, header ...string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), es.site.patience)
	defer cancel()
	res, err := es.request(ctx, http.MethodPost, target, body, header...)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(bytes.TrimSpace(text)), err
}

// Leave implements peer.
func (es *stream) Leave() error {
	status, answer, err := es.post("/bye", es.secret)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("bye: %d %s", status, answer)
	}
	return err
}

// Vanish implements peer.
func (es *stream) Vanish() {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, conn := range es.conns {
		_ = conn.Close()
	}
	es.cancel()
	es.client.CloseIdleConnections()
}
