package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/go-chime/chime/store"
)

const (
	lockPatience = time.Second // a process that is just ending needs a moment
	fileMode     = 0o600       // what people said is nobody else's business

	// mapped is how much of the file is mapped from the start. bbolt waits for
	// all readers whenever it maps more, and a backup is a long one.
	mapped = 1 << 30
	// allocated is by how much the file grows, beyond mapped or not.
	allocated = 4 << 20
)

// Open opens the store in the file at path, and makes it if there is none. Its
// directory must exist. An error says what is wrong with the file and what to
// do; [ErrLocked], [ErrForeign], [ErrNewer] and [ErrDamaged] can be told apart.
//
// The epoch is a new one if the store was last used with WriteBehind and did
// not get to its Close, or if the file is a backup. It is, too, if there are damaged
// messages among the last ones before a crash: they are left out, and said in the log.
func Open(path string, o Options) (*Store, error) {
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", explain(path, err))
	}
	go s.commits()
	return s, nil
}

func open(path string, o Options) (s *Store, err error) {
	s = newStore(path, o)
	if s.behind = o.WriteBehind; s.behind {
		s.held = map[uint64]store.Message{}
	}
	if err := inspect(path, o.openFile); err != nil {
		return nil, err
	}
	if s.db, s.file, err = openBolt(path, o.openFile, false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.closeBolt()
		}
	}()
	s.db.AllocSize = allocated
	if o.tap != nil {
		o.tap(s.db)
	}
	return s, s.begin()
}

func newStore(path string, o Options) *Store {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	o.checkpointEvery = cmp.Or(o.checkpointEvery, checkpointEvery)
	o.sweepAfter = cmp.Or(o.sweepAfter, sweepAfter)
	return &Store{
		path: path, options: o, log: o.Log,
		work: make(chan struct{}, 1), stopped: make(chan struct{}),
		topics: map[string]*topic{},
	}
}

// begin reads what the file has, and marks it as in use.
func (s *Store) begin() (err error) {
	defer s.guard(&err)
	defer noFault()()
	empty := false
	if err := s.readTx(func(tx *bolt.Tx) error {
		if k, _ := tx.Cursor().First(); k == nil {
			empty = true // new, or the process ended before it had laid it out
			return nil
		}
		return s.load(tx)
	}); err != nil {
		return err
	}
	if s.gap.astray != nil {
		return s.gap.astray
	}
	was := s.meta.mark
	if empty {
		s.meta = meta{epoch: newEpoch(), nextID: 1}
	}
	if len(s.gap.wrong) > 0 {
		s.log.Error("history has lost messages", "file", s.path, "error", explain(s.path, several(s.gap.wrong)))
		s.must = true // the next Open has nothing more to do with them
	}
	if was == behind || was == copied || len(s.gap.wrong) > 0 {
		old := s.meta.epoch
		s.meta.epoch = newEpoch()
		s.log.Info("history begins a new epoch", "file", s.path, "backup", was == copied, "was", old, "is", s.meta.epoch)
	}
	if empty {
		// Before anything is in it: what was made by one that was killed here is new, too.
		if err := syncDir(s.path, s.options.sync); err != nil {
			return err
		}
	}
	if was != clean {
		// The last process may have written what the disk does not have yet.
		if err := s.options.sync(s.file); err != nil {
			return err
		}
	}
	s.epoch = s.meta.epoch
	s.meta.mark = synced
	if s.behind {
		s.meta.mark = behind
	}
	s.due = clock() // a look around as soon as there is time
	return s.writeTx(func(tx *bolt.Tx) error {
		if empty {
			return create(tx, &s.meta)
		}
		// The sequence and the topics of what follows the checkpoint are in the log.
		m, err := readMeta(tx)
		if err != nil {
			return err
		}
		m.epoch, m.mark = s.meta.epoch, s.meta.mark
		return putMeta(tx, &m)
	})
}

// openBolt lets bbolt at the file. It panics at files that are damaged; the lock
// must not outlive that.
func openBolt(path string, openFile func(string, int, os.FileMode) (*os.File, error), readOnly bool) (db *bolt.DB, f *os.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			_ = abandon(f)
			db, f, err = nil, nil, fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	defer noFault()()
	if openFile == nil {
		openFile = os.OpenFile
	}
	o := &bolt.Options{
		Timeout: lockPatience, ReadOnly: readOnly, NoStatistics: true,
		// The free pages of a file that was swept are many. Written down with each
		// commit they would cost more than what is committed; found out at Open they
		// cost a millisecond per megabyte.
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			f, err = openFile(name, flag, mode)
			return f, err
		},
	}
	if bits.UintSize == 64 && runtime.GOOS != "windows" { // there the file gets as large
		o.InitialMmapSize = mapped
	}
	if db, err = bolt.Open(path, fileMode, o); err != nil {
		return nil, nil, err
	}
	// The lock is that of the file which was there when the wait for it began. A
	// Compact may have put another in its place; what goes into this one is lost.
	held, err := f.Stat()
	if err == nil {
		if there, statErr := os.Stat(path); statErr != nil || !os.SameFile(held, there) {
			err = errReplaced
		}
	}
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return db, f, nil
}

// inspect checks the pages of the file, if there is one, under a lock that keeps
// writers away.
func inspect(path string, openFile func(string, int, os.FileMode) (*os.File, error)) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.Size() == 0 {
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	db, f, err := openBolt(path, openFile, true)
	if err != nil {
		if f, openErr := os.Open(path); openErr == nil && !errors.Is(err, berrors.ErrTimeout) {
			defer func() { _ = f.Close() }()
			err = cmp.Or(checkPages(f, info.Size()), err) // it says more
		}
		return err
	}
	defer func() { _ = db.Close() }()
	if info, err = f.Stat(); err != nil { // as it is now that it is locked
		return err
	}
	return checkPages(f, info.Size())
}

// syncDir makes sure that the name of a new file is on the disk, too.
func syncDir(path string, sync func(*os.File) error) error {
	if runtime.GOOS == "windows" { // a directory can't be opened there
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return sync(d)
}
