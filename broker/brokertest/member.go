package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chime/chime/broker"
)

// member is a node under test, and what it is told.
type member struct {
	broker.Broker
	*sink
	self broker.Node

	mu      sync.Mutex // guards present
	present map[string]map[string]broker.Present
}

func newMember(t *testing.T, b broker.Broker, i int) *member {
	m := &member{Broker: b, sink: &sink{announced: map[string][]broker.Publication{}, erased: map[string][]erasure{}}, present: map[string]map[string]broker.Present{}}
	m.self = broker.Node{ID: fmt.Sprintf("node-%03d", i), Name: fmt.Sprint("host ", i), URL: fmt.Sprintf("http://127.0.0.1:%d/socket", 4000+i), Key: fmt.Sprint("key of ", i)}
	m.came.L = &m.sink.mu
	m.sink.history = b.History()
	b.Start(m.sink)
	if c, ok := b.(broker.Cluster); ok {
		c.StartCluster(m.self, func(_ context.Context, request []byte) ([]byte, error) {
			if string(request) == "fail" {
				return nil, errors.New("refused by " + m.self.ID)
			}
			return append([]byte(m.self.ID+" heard "), request...), nil
		})
	}
	if p, ok := b.(broker.Presence); ok {
		p.StartPresence(m.changed)
	}
	if !b.Caps().Nodes {
		t.Errorf("Caps: got %+v, want Nodes", b.Caps())
	}
	return m
}

func (m *member) changed(topic string, c broker.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.present[topic] == nil {
		m.present[topic] = map[string]broker.Present{}
	}
	for _, p := range c.Joins {
		m.present[topic][p.Ref] = p
	}
	for _, p := range c.Leaves {
		delete(m.present[topic], p.Ref)
	}
}

// here returns the refs that the node knows to be present, in order.
func (m *member) here(topic string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(m.present[topic])), " ")
}

// eventually fails the test if what get returns does not become want in time. It asks again and
// again: nobody tells a test what a node knows of the others, and where an engine is a process
// no bubble has its time.
func eventually(t *testing.T, what, want string, get func() string) {
	t.Helper()
	var got string
	for end := time.Now().Add(2 * patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: got %q after %v, want %q", what, got, 2*patience, want)
}

func subscribeAll(t *testing.T, nodes []*member, topic string) {
	t.Helper()
	for _, n := range nodes {
		subscribe(t, n.Broker, topic)
	}
}
