package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-chime/chime/internal/need"
	bolt "go.etcd.io/bbolt"
)

// killed returns a file as a kill leaves it, after so many transactions at random: with
// values over several pages, and with free pages.
func killed(t *testing.T, random *rand.Rand, transactions int) string {
	t.Helper()
	dir := t.TempDir()
	f, err := Open(filepath.Join(dir, "alive.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range transactions {
		change(t, f, random)
	}
	path := filepath.Join(dir, "killed.db")
	image, err := os.ReadFile(f.Path())
	if err == nil {
		err = os.WriteFile(path, image, FileMode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// change writes and deletes what it finds at random.
func change(t *testing.T, f *File, random *rand.Rand) {
	t.Helper()
	if err := f.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{"few", "many"} {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			keys := map[string]uint64{"few": 10, "many": 5_000}[name]
			for range 200 {
				key := binary.BigEndian.AppendUint64(nil, random.Uint64N(keys))
				if random.IntN(3) == 0 {
					err = b.Delete(key)
				} else {
					err = b.Put(key, make([]byte, []int{10, 300, 20_000}[min(2, random.IntN(50)/24)]))
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// checked is what checkPages says of the file at path.
func checked(t *testing.T, path string, all bool) pages {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := checkPages(f, info.Size(), all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sound has bbolt look for faults, which include pages that are neither in use nor free.
func sound(t *testing.T, f *File) {
	t.Helper()
	if err := f.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// What was killed goes on with the pages that are free, without all of it being read.
func TestTheFreePagesOfAFileThatWasKilled(t *testing.T) {
	seed := need.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 5 {
		path := killed(t, random, 1+random.IntN(30))
		few, all := checked(t, path, false), checked(t, path, true)
		if few.list != notListed || !slices.Equal(few.used, all.used) {
			t.Fatalf("the pages in use are not those that are found when all are read; list %d", few.list)
		}
		f, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, f)
		change(t, f, random)
		sound(t, f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// counted counts what is read.
type counted struct {
	io.ReaderAt
	bytes int64
}

func (c *counted) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += int64(len(b))
	return c.ReaderAt.ReadAt(b, at)
}

func TestOfAFileThatWasKilledLeavesAreNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alive.db")
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("many"))
		for i := uint64(0); i < 50_000 && err == nil; i++ {
			err = b.Put(binary.BigEndian.AppendUint64(nil, i), make([]byte, 200))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	info, _ := file.Stat()
	c := &counted{ReaderAt: file}
	p, err := checkPages(c, info.Size(), false)
	if err != nil {
		t.Fatal(err)
	}
	if size := int64(p.high * p.size); c.bytes > size/50 {
		t.Errorf("read %d bytes of a file of %d, want at most one in 50", c.bytes, size)
	}
}

// A power cut while the list is written leaves the file as it was, or with its list.
func TestAPowerCutWhileTheListIsWritten(t *testing.T) {
	const sector = 512
	seed := need.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	path := killed(t, random, 20)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := checked(t, path, false)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var synced []byte // what was written before the sync
	if err := p.writeList(f, func(*os.File) (err error) {
		synced, err = os.ReadFile(path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	between := func(from, to []byte) []byte { // any of the sectors are on the disk
		b := append(bytes.Clone(from), make([]byte, len(to)-len(from))...)
		for at := 0; at < len(to); at += sector {
			if random.IntN(2) == 0 {
				copy(b[at:at+sector], to[at:at+sector])
			}
		}
		return b
	}
	for i := range 30 {
		image := between(synced, after)
		if i%2 == 0 {
			image = between(before, synced)
		}
		cut := filepath.Join(t.TempDir(), "cut.db")
		if err := os.WriteFile(cut, image, FileMode); err != nil {
			t.Fatal(err)
		}
		f, err := Open(cut, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, f)
		change(t, f, random)
		sound(t, f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing is written into a file of which nobody knows what its buckets hold.
func TestAFileThatIsNotKnownIsLeftAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(path, FileMode, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("outer"))
		if err == nil {
			_, err = b.CreateBucket([]byte("inner"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, Options{Known: func(*bolt.Tx) error { return ErrForeign }})
	if !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want %v", err, ErrForeign)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
}
