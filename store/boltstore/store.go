// Package boltstore is a [store.Store] in one file, on bbolt.
//
//	s, err := boltstore.Open("chime.db", boltstore.Options{})
//	defer s.Close()
//
// A message is in the file, and the disk has been told to keep it, before
// anybody sees it: [Store.Append] announces after the commit. Commits take
// whatever waits, so many writers share one. After a power cut every message
// that was announced is there, offsets go on, and positions stay valid. With
// [Options.WriteBehind] messages are announced first; if the store then does not
// get to its Close, it begins a new epoch.
//
// What retention lets go of is invisible at once and deleted soon after, in
// small steps and without new messages too. The room is used again; the file
// does not shrink: its size is the most that was kept at one time, and the
// messages that wait to be deleted, at most some 16,000 and a quarter of what
// each topic keeps. What was deleted or redacted can be found in its free pages
// until they are used again; a compacted copy has none.
//
// A file belongs to one process at a time.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// ErrFailed is returned once a commit has failed: what the disk has of it is
// not known then, so nothing more is written until the file is opened again.
// What was kept before can still be read. The appends of the commit that failed
// return it too; nothing of them was announced, but they may turn out to have
// been kept. With WriteBehind some may have been announced.
var ErrFailed = errors.New("store failed and takes no more until it is opened again")

// Options says how to keep messages. The zero value loses none.
type Options struct {
	// WriteBehind announces messages before they are in the file. It is for
	// messages of which the last few may be lost with the machine, or with a
	// process that is killed: positions from before are not recovered then.
	WriteBehind bool

	// Log gets what no caller is told: a commit that failed behind, a sweep
	// that could not read, messages that Open had to leave out. Nil is slog's default.
	Log *slog.Logger

	// For tests.
	openFile        func(string, int, os.FileMode) (*os.File, error)
	sync            func(*os.File) error
	tap             func(*bolt.DB)
	checkpointEvery int
	sweepAfter      int
}

// Store keeps messages in a file. There is one constructor, [Open]; its methods
// are safe for concurrent use.
type Store struct {
	path    string
	options Options
	epoch   string
	behind  bool
	log     *slog.Logger
	db      *bolt.DB
	file    *os.File      // that of db
	work    chan struct{} // the committer has something to look at
	stopped chan struct{} // closed when the committer has ended
	buf     []byte        // of the committer, for records
	stuck   bool          // of the committer: bbolt panicked while it held the lock of who writes

	// plan guards the order in which messages are let in, which is that of
	// their offsets and of their commits. It is taken before a topic's mu.
	plan    sync.Mutex
	closed  bool
	failed  error // why nothing is let in any more
	queue   []*op
	waiting int           // bytes in queue
	room    chan struct{} // closed when queue has been taken; nil if nobody waits for that
	gap     gap           // what Open could not use
	meta    meta          // seq and nextID go ahead of the file's
	since   int           // messages since the last checkpoint
	must    bool          // the next commit has to be a checkpoint
	touched []*topic      // those that differ from the last checkpoint
	gone    []*topic      // those dropped since
	rotten  []*topic      // those with blocks to sweep
	wasted  int           // entries in blocks to sweep
	ripe    bool          // sweep without waiting for more
	round   *round        // of the sweep
	order   []*topic      // all, for the pass over their ages
	due     int64         // when something ages or can be dropped, Unix nanoseconds; 0: never
	passed  int64         // when that was done

	topicsMu sync.RWMutex // guards the rest; topics and horizon change with plan held, too
	topics   map[string]*topic
	horizon  uint64
	shut     bool // closed, for readers

	lost atomic.Bool // bbolt panicked while it held the lock that every transaction needs

	heldMu sync.RWMutex             // guards held
	held   map[uint64]store.Message // announced but not yet committed; nil unless behind
}

var _ store.Store = (*Store)(nil)

// Epoch implements [store.Store]. It is that of the file.
func (s *Store) Epoch() string { return s.epoch }

// Append implements [store.Store]. It waits for the commit, unless WriteBehind
// was chosen; then it waits only while too much is waiting to be written.
func (s *Store) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) error {
	o := &op{kind: appended, m: m, announce: announce}
	if err := s.append(ctx, topic, o, keep); err != nil {
		return fmt.Errorf("append to %q: %w", topic, err)
	}
	return nil
}

// Forget implements [store.Store]. It returns when the file says so.
func (s *Store) Forget(ctx context.Context, topic string) error {
	if err := s.forget(ctx, topic); err != nil {
		return fmt.Errorf("forget %q: %w", topic, err)
	}
	return nil
}

// Redact implements [store.Store]. It returns when the file no longer has the
// message in its log.
func (s *Store) Redact(ctx context.Context, topic string, offset uint64) error {
	if err := s.redact(ctx, topic, offset); err != nil {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, err)
	}
	return nil
}

// Close waits for what was let in, writes a checkpoint so that the next Open
// has little to do, and releases the file. Later calls of other methods return
// [store.ErrClosed]; later calls of Close what the first one did.
func (s *Store) Close() error {
	s.plan.Lock()
	s.closed = true
	s.plan.Unlock()
	s.wake()
	<-s.stopped
	s.plan.Lock()
	defer s.plan.Unlock()
	return s.failed
}

// release lets go of the file, at the end of the committer.
func (s *Store) release() {
	s.topicsMu.Lock()
	s.shut = true
	s.topics = nil
	s.topicsMu.Unlock()
	err := s.closeBolt()
	s.plan.Lock()
	defer s.plan.Unlock()
	if err != nil && s.failed == nil {
		s.failed = explain(s.path, err)
	}
}

func (s *Store) wake() {
	select {
	case s.work <- struct{}{}:
	default: // it is going to look anyway
	}
}

// clock is the wall's: a monotonic reading would stand still while the machine sleeps.
func clock() int64 { return time.Now().UnixNano() }
