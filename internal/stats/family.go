package stats

import (
	"fmt"
	"slices"
)

// Families are the numbers of a Router at one moment, about: what is counted
// meanwhile may be in some of them already.
type Families []Family

// Family is a number under a name, once or for each of several values of its labels.
// Names, labels and help are those of Prometheus.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string
	Samples    []Sample
}

// Kind says what becomes of a number.
type Kind int

// The kinds.
const (
	Counter Kind = iota // it only grows
	Gauge
	Distribution // how long something took
)

// Sample is a number with the values of its labels.
type Sample struct {
	Values []string
	Value  float64 // of a Counter or a Gauge

	// Of a Distribution, in seconds: how many were at most so long, how many there
	// were, and how long they took together.
	Buckets map[float64]uint64
	Count   uint64
	Sum     float64
}

// Value returns the number of that name with these values of its labels; of a
// Distribution the count. It panics if no number has that name: tests ask.
func (fs Families) Value(name string, values ...string) float64 {
	i := slices.IndexFunc(fs, func(f Family) bool { return f.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("stats: %q: no number has that name", name))
	}
	for _, s := range fs[i].Samples {
		if slices.Equal(s.Values, values) {
			return s.Value + float64(s.Count)
		}
	}
	return 0
}
