package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chime/chime/internal/clientsocket"
	"github.com/go-chime/chime/internal/stats"
	"github.com/go-chime/chime/internal/task"
)

const (
	// maxWaited is how many clients one request may wait for. A browser opens no more
	// tabs than that at once.
	maxWaited   = 64
	maxWaitBody = 4 << 10 // bytes: enough for their names
)

// waits are the requests of browsers that wait for several of their clients.
type waits struct {
	admission *admission
	others    *others
	bodies    *bodies
	clients   *clientsocket.Clients
	stats     *stats.Stats
	stuckFor  time.Duration
	tasks     *task.Group
}

// ServeWait answers POST {mount}/wait: which of several clients that poll should poll now,
// as soon as there is one. A browser has few connections on HTTP/1.1, which its tabs
// share: one of them waits for all. It shows its own identity and no secret, and what it
// learns is that there is something, so it is no sign of life of anybody.
func (s *Server) ServeWait(w http.ResponseWriter, r *http.Request) { s.waits.serve(w, r) }

func (ws *waits) serve(w http.ResponseWriter, r *http.Request) {
	body := ws.bodies.bound(w, r)
	names, hold, refused := ws.named(w, r, body)
	body.done()
	if refused != nil {
		refuseWith(w, refused)
		return
	}
	if names != nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // or net/http ends the request when it is due
		ws.tasks.Do(func() { ws.park(w, r, names, hold) })
	}
}

// named reads whom a request waits for, and how long. It has answered what comes from a
// foreign page: then there are no names.
func (ws *waits) named(w http.ResponseWriter, r *http.Request, body *body) (names []string, hold time.Duration, _ *refusal) {
	if !ws.admission.origin(w, r) {
		return nil, 0, nil
	}
	if _, refused := ws.admission.post(r, ""); refused != nil {
		return nil, 0, refused
	}
	hold, err := holdIn(r)
	if err != nil {
		return nil, 0, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	data, err := body.read(maxWaitBody)
	if errors.Is(err, errTooMuch) {
		body.refuse()
		return nil, 0, &refusal{status: http.StatusRequestEntityTooLarge, reason: "body is over " + strconv.Itoa(maxWaitBody) + " bytes"}
	}
	var want struct {
		IDs []string `json:"ids"`
	}
	switch {
	case err != nil:
		return nil, 0, unreadable
	case json.Unmarshal(data, &want) != nil || len(want.IDs) == 0:
		return nil, 0, &refusal{status: http.StatusBadRequest, reason: `body is not of the form {"ids":["…"]}, with one at least`}
	case len(want.IDs) > maxWaited:
		return nil, 0, &refusal{status: http.StatusBadRequest, reason: fmt.Sprintf("body has %d ids: want at most %d", len(want.IDs), maxWaited)}
	}
	return want.IDs, hold, nil
}

// park answers when one of those that are named is due, unknown ones at once, or when the
// time is over.
func (ws *waits) park(w http.ResponseWriter, r *http.Request, names []string, hold time.Duration) {
	ws.stats.Waits.Add(1)
	far := ws.elsewhere(r, names)
	defer far.end()
	var known []*clientsocket.ClientSocket
	all := make([]*clientsocket.ClientSocket, len(names))
	for i, name := range names {
		if all[i] = ws.clients.Registry.FindNamed(name); all[i] != nil {
			known = append(known, all[i])
		}
	}
	due := func() []string {
		list := []string{}
		for i, c := range all {
			if c == nil && !far.waits(names[i]) || c != nil && c.Due() {
				list = append(list, names[i])
			}
		}
		return list
	}
	rc := http.NewResponseController(w)
	waits := clientsocket.Await(known)
	defer waits.End()
	timer := time.NewTimer(holdOf(r, rc, hold, ws.stuckFor))
	defer timer.Stop()
	ids := due()
	for len(ids) == 0 && !(waits.Over() && far.none()) {
		select {
		case ids = <-far.due:
			far.left--
			continue
		case <-waits.Woken:
			ids = due()
			continue
		case <-timer.C:
		case <-r.Context().Done(): // or a Timeout middleware: the answer goes nowhere, or is as good now
		}
		break
	}
	answer(w, http.StatusOK, struct {
		IDs []string `json:"ids"`
	}{ids})
}

// farWait waits for clients of other nodes. It belongs to the goroutine of its request.
type farWait struct {
	names map[string]bool
	due   chan []string // of one node after the other; nobody may be
	left  int           // nodes that have not answered
	end   context.CancelFunc
}

// waits reports whether another node is asked for a client.
func (f *farWait) waits(name string) bool { return f.names[name] }

// none reports whether all that were asked have answered.
func (f *farWait) none() bool { return f.left == 0 }

// elsewhere begins to wait for those clients of a request that are on other nodes.
func (ws *waits) elsewhere(r *http.Request, names []string) *farWait {
	byNode := map[string][]string{}
	for _, name := range names {
		if node := ws.others.owner(name); node != "" {
			byNode[node] = append(byNode[node], name)
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	f := &farWait{names: map[string]bool{}, due: make(chan []string, len(byNode)), left: len(byNode), end: cancel}
	for node, list := range byNode {
		for _, name := range list {
			f.names[name] = true
		}
		ws.tasks.Go(func() { f.due <- ws.others.wait(ctx, r, node, list) })
	}
	return f
}
