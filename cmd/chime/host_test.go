package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A page whose name leads to this machine has an Origin that is its Host.
func TestServeAnswersToItsOwnNames(t *testing.T) {
	s := startServe(t, "127.0.0.1:0", "", "https://chat.example.com", "http://chimeback")
	port := s.url[strings.LastIndexByte(s.url, ':'):]
	for host, status := range map[string]int{
		"127.0.0.1" + port:        http.StatusOK,
		"localhost" + port:        http.StatusOK,
		"LOCALHOST." + port:       http.StatusOK,
		"ann.localhost":           http.StatusOK,
		"[::1]" + port:            http.StatusOK,
		"127.1.2.3":               http.StatusOK,
		"chat.example.com":        http.StatusOK,
		"chat.example.com:443":    http.StatusOK,
		"chimeback":               http.StatusOK, // nginx sends the name of its upstream
		"evil.example" + port:     http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example":  http.StatusMisdirectedRequest,
		"localhost.evil.example":  http.StatusMisdirectedRequest,
		"10.0.0.1" + port:         http.StatusMisdirectedRequest,
		strings.Repeat("x", 1000): http.StatusMisdirectedRequest,
	} {
		for _, target := range []string{"/rooms/lobby", "/socket/chime.js", "/healthz"} {
			req, err := http.NewRequest(http.MethodGet, s.url+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Origin", "http://"+host)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != status || status != http.StatusOK && len(body) > 400 {
				t.Errorf("%s of %.50s: got %d with %d bytes, want %d", target, host, res.StatusCode, len(body), status)
			}
		}
	}
	s.wantStop(t)
}
