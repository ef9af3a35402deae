package fanout

import "slices"

// maxOver is how many drafts of a topic are remembered as over: something of them may still be
// on its way, though all that can grow at a time are over twice.
const maxOver = 2 * maxCopies

// endings are what is known of the drafts of a topic that are over, whichever node has written
// them. They have no lock: they are guarded by their topic's.
type endings struct {
	over    []string                 // the IDs of the last ones
	awaited map[string]chan struct{} // of drafts whose messages are still to be announced
}

// has reports whether a draft is over.
func (e *endings) has(id string) bool { return slices.Contains(e.over, id) }

// add takes note of a draft that does not begin anew, whatever is still told of it.
func (e *endings) add(id string) {
	if e.has(id) {
		return
	}
	if len(e.over) >= maxOver {
		e.over = append(e.over[:0], e.over[1:]...)
	}
	e.over = append(e.over, id)
}

// announced takes note of a draft that is a message by now.
func (e *endings) announced(id string) {
	e.add(id)
	if done := e.awaited[id]; done != nil {
		close(done)
		delete(e.awaited, id)
	}
}

// await returns what is closed when the message of a draft is announced; nil if it was.
func (e *endings) await(id string) <-chan struct{} {
	if e.has(id) {
		return nil
	}
	if e.awaited == nil {
		e.awaited = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	e.awaited[id] = done
	return done
}

// forget ends such a wait, and reports whether the message has not come in this moment.
func (e *endings) forget(id string) bool {
	waits := e.awaited[id] != nil
	delete(e.awaited, id)
	return waits
}
