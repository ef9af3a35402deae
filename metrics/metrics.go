// Package metrics gives the numbers of a Router to Prometheus:
//
//	prometheus.MustRegister(metrics.NewCollector(live))
//	r.Handle("/metrics", promhttp.Handler())
//
// They are counted whether somebody asks or not; to ask costs nothing that grows with the
// number of clients. No label has the name of a topic or an identity: patterns are those
// of the application's channels. docs/operations.md says what to watch. An application
// that does not import this package does not link client_golang.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/stats"
)

// NewCollector returns what collects the numbers of live. With several Routers in one
// process, register each with a label of its own, by prometheus.WrapRegistererWith.
// Add all channels before you register it: Prometheus learns the names only once, and
// the patterns whenever it asks.
func NewCollector(live *chime.Router) prometheus.Collector { return collector{live} }

type collector struct{ live *chime.Router }

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range c.live.Stats() {
		to <- desc(f)
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	for _, f := range c.live.Stats() {
		d := desc(f)
		for _, s := range f.Samples {
			switch f.Kind {
			case stats.Counter:
				to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, s.Value, s.Values...)
			case stats.Gauge:
				to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, s.Value, s.Values...)
			case stats.Distribution:
				to <- prometheus.MustNewConstHistogram(d, s.Count, s.Sum, s.Buckets, s.Values...)
			}
		}
	}
}

func desc(f stats.Family) *prometheus.Desc { return prometheus.NewDesc(f.Name, f.Help, f.Labels, nil) }
