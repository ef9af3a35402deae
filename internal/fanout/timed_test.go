package fanout

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
	"github.com/go-chime/chime/store"
)

// A fan-out to few members is counted, and the clock is not read for it.
func TestAFanOutToManyIsTimed(t *testing.T) {
	for members, want := range map[int]time.Duration{1: 0, timedMembers - 1: 0, timedMembers: timedMembers * time.Millisecond} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tasks task.Group
				var s stats.Stats
				topic := New("a", Config{Tasks: &tasks, Seconds: &s.Pattern("a").Fanout})
				for i := range members {
					var pager Pager
					pager.Init(&fakeQueue{id: fmt.Sprint(i), most: 10, takes: func(item) { time.Sleep(time.Millisecond) }}, &tasks)
					o := newOwner(topic, &pager, "1")
					if err := o.join(Want{}); err != nil {
						t.Fatal(err)
					}
					defer o.leave()
				}
				topic.Published(broker.Publication{Topic: "a", Message: store.Message{Event: "e"}})
				for _, f := range s.Families(stats.Moment{}) {
					if f.Name != "chime_fanout_seconds" {
						continue
					}
					if got := f.Samples[0]; got.Count != 1 || got.Sum != want.Seconds() {
						t.Errorf("got %d fan-outs in %v s, want 1 in %v", got.Count, got.Sum, want)
					}
				}
			})
		})
	}
}
