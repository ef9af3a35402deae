package doctor

import (
	"slices"
	"strings"

	"github.com/go-chime/chime/transport"
)

// Names of faults.
const (
	nothingPasses      = "nothing-passes"
	foreignAnswer      = "foreign-answer"
	otherHost          = "other-host"
	oldHTTP            = "http-1.0"
	upgradeDropped     = "upgrade-dropped"
	upgradeRefused     = "upgrade-refused"
	webSocketDeaf      = "websocket-deaf"
	webSocketMute      = "websocket-mute"
	webSocketCutYoung  = "websocket-cut-young"
	streamRefused      = "stream-refused"
	streamDelayed      = "stream-held"
	streamFirstDelayed = "stream-first-part-held"
	streamRestDelayed  = "stream-rest-held"
	streamLate         = "stream-late"
	streamCompressed   = "stream-compressed"
	answersDelayed     = "answers-held-to-their-end"
	answersRemade      = "answers-made-anew"
	pollRefused        = "poll-refused"
	pollCut            = "poll-cut"
	headersStripped    = "headers-stripped"
	headerLimit        = "header-limit"
	postsRefused       = "posts-refused"
	postsRepeated      = "posts-repeated"
	postsUnanswered    = "posts-unanswered"
	postsReordered     = "posts-reordered"
	fewConnections     = "few-connections"
	cutByIdle          = "cut-when-idle"
	cutByAge           = "cut-by-age"
	cutAtTimes         = "cut-at-times"
	resetOfHTTP2       = "http2-reset"
	halfOpen           = "half-open"
)

// FaultNames are those of all faults.
var FaultNames = []string{
	nothingPasses, foreignAnswer, otherHost, oldHTTP, upgradeDropped, upgradeRefused, webSocketDeaf, webSocketMute, webSocketCutYoung,
	streamRefused, streamDelayed, streamFirstDelayed, streamRestDelayed, streamLate, streamCompressed, answersDelayed, answersRemade,
	pollRefused, pollCut, headersStripped, headerLimit, postsRefused, postsRepeated, postsUnanswered, postsReordered,
	fewConnections, cutByIdle, cutByAge, cutAtTimes, resetOfHTTP2, halfOpen,
}

// cautions are those that chime lives with: a client gets through on each transport that
// it would without them, more slowly perhaps.
var cautions = []string{oldHTTP, headerLimit, postsRepeated, postsUnanswered, postsReordered, fewConnections, cutByAge, cutAtTimes, resetOfHTTP2, streamFirstDelayed}

// Fault is something that the network does.
type Fault struct {
	Name    string `json:"name"` // stays the same between versions, for scripts
	Says    string `json:"says"`
	Caution bool   `json:"caution"` // no transport is unanswered by it
	Fixes   []Fix  `json:"fixes"`
}

// Fix are the settings of one product that cure a fault.
type Fix struct {
	Product string   `json:"product"`
	Lines   []string `json:"lines"`
}

// conclude writes the verdict.
func (r *Report) conclude() {
	preference := []string{transport.WebSocket, transport.SSE, transport.LongPoll}
	slices.SortFunc(r.Works, func(a, b string) int { return slices.Index(preference, a) - slices.Index(preference, b) })
	switch {
	case len(r.Works) == 0:
		r.Verdict = "no transport gets through: a client of chime can't connect here"
	case r.Healthy() && len(r.Faults) == 0:
		r.Verdict = "all is well: clients connect by " + r.Works[0]
	case r.Healthy():
		r.Verdict = "clients connect by " + r.Works[0] + ", and live with " + r.names()
	default:
		r.Verdict = "clients connect by " + r.Works[0] + ", in spite of " + r.names()
	}
	if n := len(r.Works); n > 1 {
		r.Verdict += "; " + strings.Join(r.Works[1:], " and ") + " would work, too"
	}
}

func (r *Report) names() string {
	var names []string
	for _, f := range r.Faults {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}
