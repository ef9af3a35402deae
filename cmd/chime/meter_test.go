package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Numbers are at an address of their own, which tells what the chat does, and the chat has none.
func TestServeTellsItsNumbers(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	greeting, ended := make(lineWriter, 10), make(chan error, 1)
	go func() {
		ended <- serve(ctx, serving{addr: "127.0.0.1:0", metrics: "127.0.0.1:0"}, greeting, io.Discard)
	}()
	_, chat, _ := strings.Cut(receive(t, greeting), "open at ")
	var numbers string
	for numbers == "" {
		_, numbers, _ = strings.Cut(receive(t, greeting), "Prometheus are at ")
	}
	get := func(url string) (status int, body string) {
		resp, err := http.Get(strings.TrimSpace(url))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(text)
	}
	pass, _ := enter(t, strings.TrimSpace(chat), "Ann")
	ann := connect(t, strings.TrimSpace(chat), pass)
	ann.join("lobby")
	status, body := get(numbers)
	for _, want := range []string{`chime_client_sockets{dialect="chime",transport="sse"} 1`, "chime_publish_errors_total", "go_goroutines ", "process_open_fds "} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("got %d without %q:\n%.4000s", status, want, body)
		}
	}
	if status, _ := get(strings.TrimSpace(chat) + "/metrics"); status != http.StatusNotFound {
		t.Errorf("/metrics of the chat: got %d, want 404", status)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := receive(t, ended); err != nil {
		t.Errorf("stop: got %v, want nil", err)
	}
	ann.wantEnd()
}
