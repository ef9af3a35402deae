package stats

import (
	"slices"

	"github.com/go-chime/chime/store"
)

// Moment are the numbers that nobody counts, since they can be seen.
type Moment struct {
	QueueBytes int
	Topics     int
	Draining   bool
	Store      *store.Stats // nil: it does not tell
}

// Families returns all numbers. Each family is there from the beginning, with a sample
// for each value of its labels that is known by then.
func (s *Stats) Families(m Moment) Families {
	pattern := s.known()
	fs := Families{
		{Name: "chime_client_sockets", Kind: Gauge, Labels: []string{"transport", "dialect"}, Samples: byKind(func(t, d int) float64 { return float64(s.open[t][d].Load()) }),
			Help: "Open client sockets, detached ones with the transport of their last connection."},
		{Name: "chime_client_sockets_detached", Kind: Gauge, Samples: one(float64(s.detached.Load())),
			Help: "Client sockets without a connection, within their grace period."},
		{Name: "chime_opens_total", Labels: []string{"transport", "dialect"}, Samples: byKind(func(t, d int) float64 { return float64(s.opened[t][d].Load()) }),
			Help: "Client sockets that have opened."},
		{Name: "chime_open_seconds", Kind: Distribution, Labels: []string{"transport"}, Samples: s.openings(),
			Help: "From a request for a connection until its hello is queued: mostly WithConnect."},
		{Name: "chime_ends_total", Labels: []string{"reason"}, Samples: s.ends.samples(ends),
			Help: "Client sockets that have ended, by the reason that HandleLeave gets."},
		{Name: "chime_slow_total", Labels: []string{"cause"}, Samples: s.Slow.samples(slows),
			Help: "Client sockets that were ended, or connections that were cut, since their client was slow."},
		{Name: "chime_resumes_total", Labels: []string{"outcome"}, Samples: s.Resumes.samples(resumes),
			Help: "Connections that were to go on with a client socket."},
		{Name: "chime_refusals_total", Labels: []string{"reason"}, Samples: s.Refusals.samples(refusals),
			Help: "Requests, frames and joins that were refused, not by a channel."},
		{Name: "chime_frames_received_total", Samples: one(float64(s.FramesIn.load())),
			Help: "Frames of clients that were taken in."},
		{Name: "chime_frames_sent_total", Samples: one(float64(s.FramesOut.load())),
			Help: "Frames that were handed to connections to be written."},
		{Name: "chime_sent_bytes_total", Samples: one(float64(s.BytesOut.load())),
			Help: "Bytes that were handed to connections to be written, as the dialect has them."},
		{Name: "chime_waits_total", Samples: one(float64(s.Waits.load())),
			Help: "Requests that waited for several clients that poll."},
		{Name: "chime_queue_bytes", Kind: Gauge, Samples: one(float64(m.QueueBytes)),
			Help: "What the queues of all clients hold, about."},
		{Name: "chime_topics", Kind: Gauge, Samples: one(float64(m.Topics)),
			Help: "Topics with members on this node."},
		{Name: "chime_draining", Kind: Gauge, Samples: one(truth(m.Draining)),
			Help: "1 once the Router shuts down, else 0."},
		{Name: "chime_broker_lost_total", Labels: []string{"scope"}, Samples: s.Missing.samples(scopes),
			Help: "How often the broker said that announcements may be missing, of one topic or of all: each is looked for then."},
		{Name: "chime_broker_found_total", Labels: []string{"by"}, Samples: s.Found.samples(finds),
			Help: "How often announcements of a topic were missing of which the broker had said nothing, by what has shown it."},
		{Name: "chime_joins_total", Labels: []string{"pattern", "outcome"}, Samples: each(pattern, func(p *Pattern) []Sample { return p.Joins.samples(joins, p.name) }),
			Help: "Joins that a channel was asked for."},
		{Name: "chime_recoveries_total", Labels: []string{"pattern", "outcome"}, Samples: each(pattern, func(p *Pattern) []Sample { return p.Recoveries.samples(recoveries, p.name) }),
			Help: "Joins that gave a position."},
		{Name: "chime_overruns_total", Labels: []string{"pattern"}, Samples: each(pattern, func(p *Pattern) []Sample { return one(float64(p.Overruns.Load()), p.name) }),
			Help: "Members that fell so far behind that the history no longer had what they had not been sent."},
		{Name: "chime_handler_seconds", Kind: Distribution, Labels: []string{"pattern", "handler"}, Samples: each(pattern, func(p *Pattern) []Sample {
			return p.handlers(func(h *Handler, name string) Sample { return h.Seconds.sample(p.name, name) })
		}), Help: "How long handlers took."},
		{Name: "chime_handler_panics_total", Labels: []string{"pattern", "handler"}, Samples: each(pattern, func(p *Pattern) []Sample {
			return p.handlers(func(h *Handler, name string) Sample {
				return Sample{Values: []string{p.name, name}, Value: float64(h.Panics.Load())}
			})
		}), Help: "Handlers that panicked."},
		{Name: "chime_publish_seconds", Kind: Distribution, Labels: []string{"pattern"}, Samples: each(pattern, func(p *Pattern) []Sample { return []Sample{p.Publish.sample(p.name)} }),
			Help: "How long broadcasts took their publisher: the wait for room, the commit and the fan-out."},
		{Name: "chime_publish_errors_total", Labels: []string{"pattern", "cause"}, Samples: each(pattern, func(p *Pattern) []Sample { return p.Failed.samples(failures, p.name) }),
			Help: "Broadcasts that returned the error of a store or a broker."},
		{Name: "chime_fanout_seconds", Kind: Distribution, Labels: []string{"pattern"}, Samples: each(pattern, func(p *Pattern) []Sample { return []Sample{p.Fanout.sample(p.name)} }),
			Help: "How long it took to queue a message for all members of its topic on this node; for fewer than 32 it is not measured, and counts as 0."},
	}
	return append(fs, ofStore(m.Store)...)
}

func (s *Stats) openings() (list []Sample) {
	for t := range transports {
		list = append(list, s.Opening[t].sample(transportNames[t]))
	}
	return list
}

// ofStore are the numbers of a store, without samples if it does not tell.
func ofStore(s *store.Stats) Families {
	fs := Families{
		{Name: "chime_store_commits_total", Help: "Commits of the store."},
		{Name: "chime_store_commit_seconds_total", Help: "How long all of these took together."},
		{Name: "chime_store_bytes", Kind: Gauge, Help: "What the store has in use."},
		{Name: "chime_store_max_bytes", Kind: Gauge, Help: "What it may have in use; 0 is no bound."},
		{Name: "chime_store_topics", Kind: Gauge, Help: "Topics that the store knows."},
		{Name: "chime_store_max_topics", Kind: Gauge, Help: "How many it may know; 0 is no bound."},
	}
	if s == nil {
		return fs
	}
	for i, value := range []float64{float64(s.Commits), s.CommitTime.Seconds(), float64(s.Bytes), float64(s.MaxBytes), float64(s.Topics), float64(s.MaxTopics)} {
		fs[i].Samples = one(value)
	}
	return fs
}

func (s *Stats) known() []*Pattern {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.patterns)
}

func (p *Pattern) handlers(of func(h *Handler, name string) Sample) []Sample {
	return []Sample{of(&p.HandleJoined, "HandleJoined"), of(&p.HandleMember, "HandleMember"), of(&p.HandleMessage, "HandleMessage"), of(&p.HandleLeave, "HandleLeave"), of(&p.Outgoing, "Outgoing"), of(&p.MarshalJSON, "MarshalJSON"), of(&p.Presence, "Presence")}
}

func one(value float64, values ...string) []Sample { return []Sample{{Values: values, Value: value}} }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// each joins the samples of all patterns.
func each(patterns []*Pattern, of func(*Pattern) []Sample) (list []Sample) {
	for _, p := range patterns {
		list = append(list, of(p)...)
	}
	return list
}

// byKind returns a sample for each transport with each dialect that it has.
func byKind(of func(t, d int) float64) (list []Sample) {
	for t := range transports {
		for d := range dialects {
			if speaks(Transport(t), Dialect(d)) {
				list = append(list, Sample{Values: []string{transportNames[t], dialectNames[d]}, Value: of(t, d)})
			}
		}
	}
	return list
}

// speaks reports whether a dialect has a transport.
func speaks(t Transport, d Dialect) bool {
	switch d {
	case Chime:
		return true
	case Bare:
		return t == SSE
	case Amber:
		return t == WebSocket
	default:
		return t != SSE
	}
}
