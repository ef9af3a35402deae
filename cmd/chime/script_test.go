package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// script is a server of one stream: each connection gets the next act.
type script struct {
	*httptest.Server
	seen chan *http.Request
}

type act func(w http.ResponseWriter, r *http.Request)

func play(t *testing.T, acts ...act) *script {
	t.Helper()
	s := &script{seen: make(chan *http.Request, 100)}
	next := make(chan act, len(acts))
	for _, a := range acts {
		next <- a
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen <- r
		select {
		case a := <-next:
			a(w, r)
		default:
			t.Error("one connection more than the script has")
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// stream writes text as an event stream and ends it.
func stream(text string) act {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
	}
}

// streamAndStay writes text and leaves the stream open.
func streamAndStay(text string) act {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(text)(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func status(code int, body string, header ...string) act {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

const (
	joinOK = `data: ["1","1","t:1","phx_reply",{"status":"ok","response":{}}]` + "\n\n"
	one    = "id: e:1\n" + `data: [null,"@1","t:1","said",{"n":1}]` + "\n\n"
	two    = "id: e:2\n" + `data: [null,"@2","t:1","said",{"n":2}]` + "\n\n"
)
