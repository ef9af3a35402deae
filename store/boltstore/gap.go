package boltstore

import (
	"errors"
	"fmt"
)

// gap is what load could not use of the log after the checkpoint. Whose message a
// record was that can't be read, nobody can say: it may be the last one of any
// topic. So a gap is one of the whole store, which begins a new epoch over it:
// whoever has a position from before is told, as after messages that were lost
// behind. Floors would tell a single topic's clients, but only where a later
// record names the lost one, and would take with them all that was said before.
type gap struct {
	wrong   []error
	at      map[uint64]bool // the offsets of those
	missing []promise       // records that others lead to, and that aren't there
	astray  error           // a record whose number can't be told
}

var errNameless = errors.New("the record with the name of its topic is lost")

func (g *gap) has(seq uint64) bool { return g.at[seq] }

func (g *gap) note(seq uint64, err error) {
	if g.at == nil {
		g.at = map[uint64]bool{}
	}
	g.at[seq] = true
	g.wrong = append(g.wrong, fmt.Errorf("%w at offset %d: %w", errRecord, seq, err))
}

// maxSkipped bounds what is noted one by one. A commit writes some hundreds.
const maxSkipped = 1 << 20

// skipped notes the records that should stand between the last one and seq. Whose
// they were nobody can say, and no later one of the same topic need be there to
// name them; see unread.
func (g *gap) skipped(s *Store, seq uint64) {
	if seq > s.meta.seq+maxSkipped {
		g.astray = fmt.Errorf("%w at offset %d: it is the first behind offset %d", errRecord, seq, s.meta.seq)
		return
	}
	for s.meta.seq+1 < seq {
		s.meta.seq++
		s.meta.nextID++
		g.missing = append(g.missing, promise{entry: entry{seq: s.meta.seq}})
		g.note(s.meta.seq, errMissing)
	}
}

// unread notes a record that can't be decoded. Offsets go on behind it, and so do
// the numbers of topics: it may have been the first one of its topic, and those
// that follow it there must not become another's.
func (g *gap) unread(s *Store, key []byte, err error) {
	// Each record has the next number. Another one may be as wrong as the rest,
	// and offsets would go on from it, or end in it some day.
	if seq, keyErr := number(key); keyErr != nil || seq != s.meta.seq+1 {
		g.astray = fmt.Errorf("%w with the key % x, behind offset %d: %w", errRecord, key, s.meta.seq, err)
		return
	}
	s.meta.seq++
	s.meta.nextID++
	g.note(s.meta.seq, err)
}
