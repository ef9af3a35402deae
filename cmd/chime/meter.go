package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/metrics"
)

// meter serves numbers for Prometheus, at an address of its own: they are for nobody who can
// reach the chat. One that is nil serves nothing.
type meter struct {
	listener net.Listener
	server   *http.Server  // nil: it does not serve yet
	ended    chan struct{} // closed when it serves no longer
}

// openMeter listens on addr; "" is nowhere.
func openMeter(addr string) (*meter, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, unheard("--metrics", addr, err)
	}
	return &meter{listener: l}, nil
}

// serve begins to serve the numbers of a Router and of the process.
func (m *meter) serve(live *chime.Router, log *slog.Logger) {
	if m == nil {
		return
	}
	all := prometheus.NewRegistry()
	all.MustRegister(metrics.NewCollector(live), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
	m.server, m.ended = newServer(mux, log), make(chan struct{})
	go func() { // ends with Close
		defer close(m.ended)
		if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("numbers are not served any more", "error", err)
		}
	}()
}

// Close ends it at once.
func (m *meter) Close() error {
	switch {
	case m == nil:
		return nil
	case m.server == nil:
		return m.listener.Close()
	}
	err := m.server.Close()
	<-m.ended
	return err
}
