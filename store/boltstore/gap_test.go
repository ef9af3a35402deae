package boltstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// left is a file as a crash leaves it, with a log behind the checkpoint, and what
// was said in it, in its order. Each message tells its topic.
type left struct {
	path  string
	epoch string
	said  []spoken
}

type spoken struct {
	topic string
	store.Message
}

// leave says something in the topics, one letter each. Before it there is a checkpoint with the topic a.
func leave(t *testing.T, topics string) *left {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chime.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &left{path: filepath.Join(t.TempDir(), "left.db"), epoch: s.Epoch()}
	l.say(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		l.say(t, s, string(topic))
	}
	copyFile(t, path, l.path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *left) say(t *testing.T, s *Store, topic string) {
	t.Helper()
	l.said = append(l.said, spoken{topic, say(t, s, topic, fmt.Sprintf(`"%s %d"`, topic, len(l.said)), store.Retention{})})
}

// without returns what is left of a topic without these messages, by their number.
func (l *left) without(topic string, lost ...int) (list []store.Message) {
	for i, m := range l.said {
		if m.topic == topic && !slices.Contains(lost, i) {
			list = append(list, m.Message)
		}
	}
	return list
}

// flip changes a bit of the i-th message.
func (l *left) flip(t *testing.T, i int) {
	t.Helper()
	update(t, l.path, func(tx *bolt.Tx) error {
		key := logKey(l.said[i].Offset)
		bad := bytes.Clone(tx.Bucket(logBucket).Get(key))
		bad[len(bad)-2] ^= 1
		return tx.Bucket(logBucket).Put(key, bad)
	})
}

// open opens the file, and returns what the log has to say of what is lost. What
// is done with it as it is then, the committer has not got to.
func (l *left) open(t *testing.T, then func()) (s *Store, told []string) {
	t.Helper()
	var b bytes.Buffer
	s, err := open(l.path, Options{Log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}
	then()
	go s.commits()
	return s, slices.DeleteFunc(strings.Split(b.String(), "\n"), func(line string) bool { return line == "" })
}

// A record that is damaged before a checkpoint has come over it takes nothing else
// with it, and leaves nobody to believe that nothing is missing.
func TestADamagedRecordBehindTheCheckpoint(t *testing.T) {
	for _, c := range []struct {
		name   string
		topics string // what is said, from number 1 on
		bad    []int
		lost   []int // with those whose topic has no name any more
	}{
		{"in the middle", "ababab", []int{3}, []int{3}},
		{"two of a topic", "ababab", []int{3, 5}, []int{3, 5}},
		{"the last of its topic", "ababbb", []int{3}, []int{3}},
		{"the last in the file", "ababab", []int{6}, []int{6}},
		{"the first in the log", "aabb", []int{1}, []int{1}},
		{"the first of its topic", "abcbacb", []int{2}, []int{2, 4, 7}},
		{"the only one of its topic", "acab", []int{2}, []int{2}},
		{"the first of the last topic", "aab", []int{3}, []int{3}},
		{"all", "abab", []int{1, 2, 3, 4}, []int{1, 2, 3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := leave(t, c.topics)
			for _, i := range c.bad {
				l.flip(t, i)
			}
			l.wantToldBy(t, "verify", func() error { _, err := Verify(l.path); return err }, c.lost)
			imported := l.wantExported(t, c.lost)
			l.wantLeft(t, c.lost)

			// What begins now is not what had that name, or that number.
			s, told := l.open(t, func() {})
			if len(told) > 0 || s.Epoch() != l.epoch {
				t.Errorf("opened again: it was told %q, epoch %q, want it to be over, and %q", told, s.Epoch(), l.epoch)
			}
			for _, topic := range []string{"a", "b", "c", "d", "e"} {
				was := read(t, s, topic, store.Range{})
				next := say(t, s, topic, `"next"`, store.Retention{})
				if top := l.said[len(l.said)-1].Offset; next.Offset <= top {
					t.Errorf("topic %s: got offset %d, want more than %d", topic, next.Offset, top)
				}
				if p := read(t, s, topic, store.Range{}); len(p.Messages) != len(was.Messages)+1 {
					t.Errorf("topic %s: got %d messages, want %d and one", topic, len(p.Messages), len(was.Messages))
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			l.wantToldBy(t, "verify after that", func() error { _, err := Verify(l.path); return err }, c.lost)
			if err := Compact(l.path, ""); !errors.Is(err, ErrDamaged) {
				t.Errorf("compact: got %v, want %v", err, ErrDamaged)
			}
			l.wantExported(t, c.lost)
			opened(t, imported, Options{})
		})
	}
}

// wantLeft opens what is left, after another crash too.
func (l *left) wantLeft(t *testing.T, lost []int) {
	t.Helper()
	at := l.path
	for _, then := range []string{filepath.Join(t.TempDir(), "again.db"), ""} {
		f := &left{path: at, said: l.said}
		s, told := f.open(t, func() {
			if then != "" {
				copyFile(t, at, then) // it crashes at once
			}
		})
		if len(told) != 1 || !strings.Contains(told[0], "backup") || !strings.Contains(told[0], at) {
			t.Errorf("it was told %q, want once, with the file and what to do", told)
		} else {
			l.wantToldBy(t, "the log", func() error { return fmt.Errorf("%w: %s", ErrDamaged, told[0]) }, lost)
		}
		if s.Epoch() == l.epoch {
			t.Error("the epoch is the same: who was there before will not be told")
		}
		for _, topic := range []string{"a", "b", "c", "d"} {
			p := read(t, s, topic, store.Range{})
			if want := l.without(topic, lost...); !slices.EqualFunc(p.Messages, want, same) {
				t.Errorf("topic %s: got %+v, want %+v", topic, p.Messages, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		l.path, l.epoch = at, s.Epoch()
		at = then
	}
}

// wantToldBy holds an error to the offsets of what is lost.
func (l *left) wantToldBy(t *testing.T, who string, ask func() error, lost []int) {
	t.Helper()
	err := ask()
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: got %v, want %v", who, err, ErrDamaged)
		return
	}
	for _, i := range lost {
		if want := fmt.Sprintf("the record at offset %d: ", l.said[i].Offset); strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s: got %v, want %q once", who, err, want)
		}
	}
	if got := strings.Count(err.Error(), "the record at offset "); got != len(lost) {
		t.Errorf("%s: it tells of %d records, want %d: %v", who, got, len(lost), err)
	}
}

// wantExported exports all but what is lost, and imports that.
func (l *left) wantExported(t *testing.T, lost []int) (imported string) {
	t.Helper()
	r, err := OpenReader(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.Export(&b); !errors.Is(err, ErrDamaged) || strings.Count(err.Error(), "left out") != len(lost) {
		t.Errorf("export: got %v, want %d left out", err, len(lost))
	}
	imported = filepath.Join(t.TempDir(), "imported.db")
	text := b.String()
	if _, err := Import(imported, &b); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var line Line
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if m := string(line.Payload); m != `"next"` && !strings.HasPrefix(m, `"`+line.Topic+" ") {
			t.Errorf("topic %s: exported %s, which is another's", line.Topic, m)
		}
	}
	for _, topic := range []string{"a", "b", "c"} {
		if got, want := strings.Count(text, `"payload":"`+topic+` `), len(l.without(topic, lost...)); got != want {
			t.Errorf("topic %s: exported %d messages, want %d", topic, got, want)
		}
	}
	return imported
}

// At random: whatever is damaged, nothing else is lost, nothing is another's, and
// offsets go on.
func TestDamagedAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	for range 30 {
		topics := ""
		for range 1 + r.IntN(30) {
			topics += string("abc"[r.IntN(3)])
		}
		l := leave(t, topics)
		bad := []int{}
		for range 1 + r.IntN(3) {
			if i := 1 + r.IntN(len(topics)); !slices.Contains(bad, i) {
				l.flip(t, i)
				bad = append(bad, i)
			}
		}
		lost := slices.Clone(bad)
		for _, topic := range []string{"b", "c"} { // a is in the checkpoint
			first := slices.IndexFunc(l.said, func(m spoken) bool { return m.topic == topic })
			for i, m := range l.said {
				if m.topic == topic && slices.Contains(bad, first) && !slices.Contains(lost, i) {
					lost = append(lost, i)
				}
			}
		}
		if len(lost) <= toldOf {
			l.wantToldBy(t, "verify", func() error { _, err := Verify(l.path); return err }, lost)
			l.wantExported(t, lost)
			l.wantLeft(t, lost)
		}
		if t.Failed() {
			t.Fatalf("said in %s, damaged %v", topics, bad)
		}
	}
}

// A record whose number may be wrong, too, is no place to go on from. What can be
// read can be exported.
func TestARecordWithoutANumber(t *testing.T) {
	for name, key := range map[string]func(uint64) []byte{
		"far ahead":  func(seq uint64) []byte { return logKey(seq | 1<<60) },
		"of 9 bytes": func(seq uint64) []byte { return append(logKey(seq), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := leave(t, "abab")
			last := len(l.said) - 1
			update(t, l.path, func(tx *bolt.Tx) error {
				log := tx.Bucket(logBucket)
				was := logKey(l.said[last].Offset)
				v := bytes.Clone(log.Get(was))
				return errors.Join(log.Delete(was), log.Put(key(l.said[last].Offset), v))
			})
			_, err := Open(l.path, Options{})
			explains(t, err, l.path, ErrDamaged, "export")
			_, err = Verify(l.path)
			explains(t, err, l.path, ErrDamaged, "export")
			l.wantExported(t, []int{last})
		})
	}
}

// A record that others lead to, and that is gone, is as one that can't be read.
func TestAMissingRecordBehindTheCheckpoint(t *testing.T) {
	l := leave(t, "ababab")
	update(t, l.path, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(logKey(l.said[3].Offset)) })
	l.wantToldBy(t, "verify", func() error { _, err := Verify(l.path); return err }, []int{3})
	l.wantLeft(t, []int{3})
}

// What Open has said of a gap it has also seen to: another crash does not bring it back.
func TestAGapIsToldOnce(t *testing.T) {
	l := leave(t, "abab")
	l.flip(t, 2)
	s, _ := l.open(t, func() {})
	l.say(t, s, "a")
	epoch := s.Epoch()
	again := &left{path: filepath.Join(t.TempDir(), "again.db")}
	copyFile(t, l.path, again.path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, told := again.open(t, func() {})
	if len(told) > 0 || s.Epoch() != epoch {
		t.Errorf("after another crash: it was told %q, epoch %q, want nothing and %q", told, s.Epoch(), epoch)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A disk that gives the right bytes after all gives none of them to another topic,
// which began meanwhile.
func TestADamagedRecordThatHeals(t *testing.T) {
	l := leave(t, "ab")
	l.flip(t, 2) // the only one of b
	s, _ := l.open(t, func() {})
	l.say(t, s, "c")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.flip(t, 2)
	l.wantToldBy(t, "verify", func() error { _, err := Verify(l.path); return err }, []int{2})
	l.wantExported(t, []int{2})
}

// A record that is whole and contradicts what is known of its topic is left out, too.
func TestARecordThatDoesNotFit(t *testing.T) {
	c := "a"
	for name, r := range map[string]record{
		"it follows on one before the last":   {topic: 1, prev: 1},
		"it begins a topic that there is":     {topic: 9, name: &c},
		"its topic has not begun":             {topic: 9, prev: 4},
		"it follows on one that is not there": {topic: 1, prev: 4},
	} {
		t.Run(name, func(t *testing.T) {
			l := leave(t, "aba")
			top := l.said[len(l.said)-1].Offset
			lost := []int{len(l.said)}
			if r.topic == 1 && r.prev > 1 { // then that one is lost, which never was
				r.seq, r.prev = top+2, top+1
				l.said = append(l.said, spoken{"a", store.Message{Offset: r.prev}})
			} else {
				r.seq = top + 1
			}
			r.at, r.event, r.data = l.said[0].At.UnixNano(), "said", []byte(`"a forged"`)
			update(t, l.path, func(tx *bolt.Tx) error {
				key := logKey(r.seq)
				return tx.Bucket(logBucket).Put(key, appendRecord(nil, key, &r))
			})
			l.said = append(l.said, spoken{"a", store.Message{Offset: r.seq, Prev: r.prev, At: l.said[0].At, Event: r.event, Payload: r.data}})
			l.wantToldBy(t, "verify", func() error { _, err := Verify(l.path); return err }, lost)
			l.wantLeft(t, lost)
		})
	}
}

// A record that is not there at all may have been the last of its topic, which no
// other one names.
func TestAMissingRecordThatNoOtherNames(t *testing.T) {
	for _, c := range []struct {
		name, topics string
		gone         int
		topic        string // that it was of
	}{
		{"the last of its topic", "ababaa", 4, "b"},
		{"the only one of its topic", "acab", 2, "c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := leave(t, c.topics)
			lost := l.said[c.gone]
			update(t, l.path, func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Delete(logKey(lost.Offset)) })
			at := fmt.Sprintf("offset %d: it is missing", lost.Offset)
			if _, err := Verify(l.path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), at) {
				t.Errorf("verify: got %v, want %v and %q", err, ErrDamaged, at)
			}
			s, told := l.open(t, func() {})
			if len(told) != 1 || !strings.Contains(told[0], at) {
				t.Errorf("it was told %q, want once, with %q", told, at)
			}
			if s.Epoch() == l.epoch {
				t.Error("the epoch is the same: who was there before will not be told")
			}
			if next := say(t, s, c.topic, `"next"`, store.Retention{}); next.Offset <= l.said[len(l.said)-1].Offset {
				t.Errorf("got offset %d again", next.Offset)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
