package transport

import (
	"strings"
	"testing"
	"time"
)

func TestALimitOfZeroIsTheDefault(t *testing.T) {
	defaults := Limits{64 << 10, 256 << 10, 100, 100, 512, 1 << 20, 16 << 20, 256 << 20, 10 * time.Second, 256 << 10, 1024, 1000, 100, 4 << 20, 20, 200, 200, 100_000, NoLimit, NoLimit, NoLimit}
	if got := (Limits{}).WithDefaults(); got != defaults {
		t.Errorf("none: got %+v, want %+v", got, defaults)
	}
	all := Limits{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}
	if got := all.WithDefaults(); got != all {
		t.Errorf("all: got %+v, want %+v", got, all)
	}
	want := defaults
	want.Topics = 9
	if got := (Limits{Topics: 9}).WithDefaults(); got != want {
		t.Errorf("one: got %+v, want %+v", got, want)
	}
	want = defaults
	want.MessageBytes, want.BatchBytes = 1<<20, 1<<20+128
	if got := (Limits{MessageBytes: 1 << 20}).WithDefaults(); got != want {
		t.Errorf("large messages: got %+v, want %+v, in which one goes into a POST", got, want)
	}
}

func TestALimitOutOfRangeIsNamed(t *testing.T) {
	for name, l := range map[string]Limits{
		"":                                 {},
		"limit Topics: -1: ":               {Topics: -1},
		"limit UnackedMessages: -7: ":      {UnackedMessages: -7},
		"limit StuckFor: -1s: ":            {StuckFor: -time.Second},
		"limit BatchBytes: 65663: ":        {BatchBytes: 65663},
		"limit BatchBytes: 100: ":          {BatchBytes: 100, MessageBytes: 50},
		"limit BatchMessages: -1: ":        {BatchBytes: 100, BatchMessages: -1},
		"a POST of one frame":              {BatchBytes: 65664},
		"a POST of one small frame":        {MessageBytes: 10, BatchBytes: 138},
		"no limit where there may be none": {FramesPerSecond: NoLimit, ClientSockets: NoLimit},
		"limit JoinsPerSecond: -2: want 1 or more, 0 for the default, or NoLimit": {JoinsPerSecond: -2},
	} {
		err := l.Check()
		if strings.HasPrefix(name, "limit") != (err != nil) || err != nil && !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%+v: got %v, want %q", l, err, name)
		}
	}
}
