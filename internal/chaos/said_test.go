package chaos

import (
	"encoding/json"
	"fmt"
	"strings"
)

// said is what somebody says once: by a publisher, or in a push of a client.
type said struct {
	By   string `json:"by"`
	N    int    `json:"n"`
	Size int    `json:"size"`
}

func (s said) payload() map[string]any {
	return map[string]any{"by": s.By, "n": s.N, "size": s.Size, "pad": strings.Repeat("x", s.Size)}
}

func (s said) String() string { return fmt.Sprintf("%s:%d", s.By, s.N) }

// parseSaid takes what was said out of a payload, of which no byte may be missing.
func parseSaid(payload []byte) (said, error) {
	var p struct {
		said
		Pad string `json:"pad"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return said{}, err
	}
	if p.By == "" || len(p.Pad) != p.Size {
		return said{}, fmt.Errorf("%v has %d bytes, want %d", p.said, len(p.Pad), p.Size)
	}
	return p.said, nil
}
