// Package boltstore is a [store.Store] in one file, on bbolt.
//
//	s, err := boltstore.Open("chime.db", boltstore.Options{})
//	defer s.Close()
//
// A message is in the file, and synced to the disk, before anybody sees it: [Store.Append]
// announces after the commit. Commits take whatever waits, so many writers share one. After
// a power cut every message that was announced is there, offsets go on, and positions stay
// valid.
//
// What retention does not cover is invisible at once and deleted soon after, in
// small steps and without new messages too. The room is used again; the file
// does not shrink: its size is the most that was kept at one time, and the
// messages that wait to be deleted, a quarter of what each topic keeps. What was
// deleted or redacted can be found in its free pages until they are used again;
// a compacted copy has none.
//
// All topics together are bounded, see [Options]; where nothing may go, and while
// the disk is full, Append returns [store.ErrFull].
//
// A file belongs to one process at a time. Package boltfile looks into one that
// is not in use, checks it, and makes it smaller.
package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
)

// ErrFailed is returned once a commit has failed, unless the disk was full: what the
// disk has of it is not known then, so nothing more is written until the file is opened again.
// What was kept before can still be read. The appends of the commit that failed
// return it too; nothing of them was announced, but they may turn out to have
// been kept.
var ErrFailed = errors.New("store failed and takes no more until it is opened again")

// Open and package boltfile wrap these errors, in a [FileError].
var (
	ErrLocked  = disk.ErrLocked  // another process has the file open
	ErrForeign = disk.ErrForeign // it is not a chime history
	ErrNewer   = disk.ErrNewer   // a later version of chime wrote it
	ErrOlder   = disk.ErrOlder   // an earlier version of chime wrote it, in a format that is no longer read
	ErrDamaged = disk.ErrDamaged // a part of the file can't be right
)

// FileError says what is wrong with a file, and what to do about it.
type FileError = disk.FileError

// Options says how to keep messages. The zero value has all defaults.
type Options struct {
	// MaxBytes bounds what is in use of the file, and with it how large it gets. Zero
	// is 8 GiB, [Unbounded] none. One topic has a part in sixteen at most: beyond that
	// its oldest messages go. From fifteen parts in sixteen on, topics go; at the bound
	// Append returns [store.ErrFull]. One commit may go beyond, by 64 MiB at most.
	//
	// Of the topics whose names are the same up to the first colon, those go that have
	// the most bytes together: of these the topics with the fewest messages, among them
	// those that were not appended to for the longest. Whatever was appended to within
	// the last minute stays. A topic that went is not remembered.
	MaxBytes int64

	// MaxTopics bounds how many topics are known, with messages or without. Zero is a
	// million, [Unbounded] none. Topics go as at MaxBytes, where there are the most of
	// them together; at the bound an Append that begins one returns [store.ErrFull].
	MaxTopics int

	// Log gets what is not the error of a call: a commit that failed, a topic that
	// can't be swept. Nil is slog's default.
	Log *slog.Logger

	// For tests.
	openFile func(string, int, os.FileMode) (*os.File, error)
	sync     func(*os.File) error
	watch    func(*bolt.DB)
	room     func(bytes int) error
}

// Store keeps messages in a file. There is one constructor, [Open]; its methods
// are safe for concurrent use.
type Store struct {
	epoch     string
	file      *disk.File
	queue     *queue
	committer *committer
	closed    atomic.Bool // nothing can be read any more
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, and makes it if there is none. Its
// directory must exist. An error says what is wrong with the file and what to
// do; it wraps [ErrLocked], [ErrForeign], [ErrNewer], [ErrOlder] or [ErrDamaged]
// where that is the reason.
//
// The epoch is a new one if the file is a backup. Opening reads no messages. It takes
// as long for many as for few, unless the store did not get to its Close: then one page
// in a hundred is read, and a list of the free pages is written.
func Open(path string, o Options) (*Store, error) {
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	go s.committer.run()
	return s, nil
}

func open(path string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	f, err := disk.Open(path, disk.Options{Known: tree.Known, OpenFile: o.openFile, Sync: o.sync})
	if err != nil {
		return nil, err
	}
	if o.room == nil {
		o.room = f.Room
	}
	if o.watch != nil {
		db, _ := f.Bolt()
		o.watch(db)
	}
	state, err := begin(f, o)
	var due int64
	if err == nil {
		err = f.View(func(tx *bolt.Tx) error { due = tree.Due(tx); return nil })
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	s := &Store{epoch: state.Epoch, file: f, queue: newQueue()}
	within := &bounds{bytes: cmp.Or(o.MaxBytes, defaultMaxBytes), topics: int64(cmp.Or(o.MaxTopics, defaultMaxTopics)), log: o.Log}
	if err := within.see(f, state.Known()); err != nil {
		_ = f.Close()
		return nil, err
	}
	s.committer = &committer{
		file: f, queue: s.queue, log: o.Log, due: due, room: o.room,
		bounds:  within,
		closing: func() { s.closed.Store(true) }, ended: make(chan struct{}),
	}
	s.committer.meter.holds(within)
	return s, nil
}

// begin lays out a new file, and marks any as in use.
func begin(f *disk.File, o Options) (s tree.State, err error) {
	empty := false
	if err := f.View(func(tx *bolt.Tx) (err error) {
		if empty = tree.Empty(tx); !empty { // else it is new, or the process ended before it had laid it out
			s, err = tree.ReadState(tx)
		}
		return err
	}); err != nil {
		return s, err
	}
	switch {
	case empty:
		s.Epoch = tree.NewEpoch()
		// Before anything is in it: what was made by a process that was killed here is new, too.
		err = disk.SyncDir(f.Path(), o.sync)
	case s.Mark == tree.Copied:
		was := s.Epoch
		s.Epoch = tree.NewEpoch()
		o.Log.Info("history begins a new epoch", "file", f.Path(), "was", was, "is", s.Epoch)
	}
	if err == nil && s.Mark != tree.Closed {
		// The last process may have written what the disk does not have yet.
		err = f.SyncBefore(o.sync)
	}
	if err != nil {
		return s, err
	}
	s.Mark = tree.InUse
	return s, f.Update(func(tx *bolt.Tx) error {
		if empty {
			return tree.Create(tx, &s)
		}
		return s.Put(tx)
	})
}

// Epoch implements [store.Store]. It is that of the file.
func (s *Store) Epoch() string { return s.epoch }

// Durable reports true: what Append has returned for is on the disk.
func (s *Store) Durable() bool { return true }

// Append implements [store.Store]. It waits for the commit.
func (s *Store) Append(ctx context.Context, topic string, m store.Message, keep store.Retention, announce func(store.Message)) (uint64, error) {
	err := tree.Size(topic, &m)
	m.Offset = 0
	anew := false
	if err == nil {
		err = s.queue.do(ctx, &op{
			change: func(p *tree.Plan) (err error) {
				m, anew, err = p.Append(topic, m, keep)
				return err
			},
			size: len(m.Payload),
			committed: func() {
				if anew && announce != nil {
					announce(m)
				}
			},
		})
	}
	if err != nil {
		return 0, fmt.Errorf("append to %q: %w", topic, err)
	}
	return m.Offset, nil
}

// Read implements [store.Store]. It reads from the file, as of the last commit.
func (s *Store) Read(ctx context.Context, topic string, r store.Range) (page store.Page, err error) {
	if err = ctx.Err(); err == nil && s.closed.Load() {
		err = store.ErrClosed
	}
	if err == nil {
		err = s.file.View(func(tx *bolt.Tx) (err error) {
			page, err = tree.Read(tx, topic, r, clock())
			return err
		})
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("read %q: %w", topic, err)
	}
	return page, nil
}

// Forget implements [store.Store]. It returns when the file says so.
func (s *Store) Forget(ctx context.Context, topic string) error {
	err := s.queue.do(ctx, &op{change: func(p *tree.Plan) error { return p.Forget(topic) }})
	if err != nil {
		return fmt.Errorf("forget %q: %w", topic, err)
	}
	return nil
}

// Redact implements [store.Store]. It returns when the file no longer has the
// message among those of the topic.
func (s *Store) Redact(ctx context.Context, topic string, offset uint64) error {
	err := s.queue.do(ctx, &op{change: func(p *tree.Plan) error { return p.Redact(topic, offset) }})
	if err != nil {
		return fmt.Errorf("redact %d of %q: %w", offset, topic, err)
	}
	return nil
}

// Backup writes a copy of the store, as of the last commit, to w. The store is
// in use at the same time. The copy begins a new epoch when it is opened, since the
// original may have gone on.
//
// It is made in a file beside the store's and then written to w: the disk needs
// room for a second whole file until Backup returns, and the store grows by what
// comes in until the copy is made. An error of w is returned as it is.
func (s *Store) Backup(w io.Writer) error {
	// Without the mark a copy that is put back would give offsets again that clients
	// have seen; and a mark can't be put into the pages as they go by.
	f, err := s.file.Copy(func(tx *bolt.Tx) error {
		state, err := tree.ReadState(tx)
		if err != nil {
			return err
		}
		state.Mark = tree.Copied
		return state.Put(tx)
	})
	if err != nil {
		return fmt.Errorf("backup history: %w", err)
	}
	defer disk.Discard(f)
	_, err = io.Copy(w, f)
	return err
}

// Health returns nil as long as the store takes messages. Else it says why not:
// [store.ErrFull] if it goes on when there is room, [ErrFailed] if it has to be opened
// again, [store.ErrClosed] after Close. It does not block.
func (s *Store) Health() error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return s.committer.health.get()
}

// Stats returns the numbers of the store, as of the last commit. It does not block.
func (s *Store) Stats() store.Stats { return s.committer.meter.read() }

// Close waits for what has begun, and releases the file. Later calls of other
// methods return [store.ErrClosed]; later calls of Close what the first one did.
func (s *Store) Close() error {
	s.queue.close()
	<-s.committer.ended
	return s.committer.err
}

// clock is the wall's: a monotonic reading would stand still while the machine sleeps.
func clock() int64 { return time.Now().UnixNano() }
