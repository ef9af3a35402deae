package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/boltfile"
	"github.com/go-chime/chime/store/boltstore/internal/filetest"
)

// left is a file as a crash leaves it, and what was said in it, in its order. Each
// message tells its topic.
type left struct {
	path  string
	epoch string
	said  []spoken
}

type spoken struct {
	topic string
	store.Message
}

// leave says something in the topics, one letter each.
func leave(t *testing.T, topics string) *left {
	t.Helper()
	s := begun(t)
	l := &left{path: filepath.Join(t.TempDir(), "left.db"), epoch: s.Epoch()}
	for i, topic := range topics {
		text := fmt.Sprintf(`"%c %d"`, topic, i)
		l.said = append(l.said, spoken{string(topic), say(t, s, string(topic), text, store.Retention{})})
	}
	filetest.Copy(t, pathOf(s), l.path)
	return l
}

// without returns what is left of a topic without these messages, by their number.
func (l *left) without(topic string, missing ...int) (list []store.Message) {
	for i, m := range l.said {
		if m.topic == topic && !slices.Contains(missing, i) {
			list = append(list, m.Message)
		}
	}
	return list
}

// key is that of the i-th message.
func (l *left) key(i int) []byte {
	number := map[string]uint64{}
	for _, m := range l.said {
		if number[m.topic] == 0 {
			number[m.topic] = uint64(len(number) + 1)
		}
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, number[l.said[i].topic]), l.said[i].Offset)
}

// change changes the value of the i-th message; nil deletes it.
func (l *left) change(t *testing.T, i int, change func(value []byte) []byte) {
	t.Helper()
	filetest.Update(t, l.path, func(tx *bolt.Tx) error {
		b, key := tx.Bucket([]byte("messages")), l.key(i)
		if value := change(bytes.Clone(b.Get(key))); value != nil {
			return b.Put(key, value)
		}
		return b.Delete(key)
	})
}

func flip(value []byte) []byte {
	value[len(value)-2] ^= 1
	return value
}

func remove([]byte) []byte { return nil }

// A damaged record takes nothing else with it, and nobody is left to believe that
// nothing is missing.
func TestADamagedRecordTakesNothingWithIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		topics string
		bad    []int
	}{
		{"in the middle", "ababab", []int{3}},
		{"two of a topic", "ababab", []int{3, 5}},
		{"the last of its topic", "ababbb", []int{2}},
		{"the last in the file", "ababab", []int{5}},
		{"the first in the file", "aabb", []int{0}},
		{"the first of its topic", "abcbacb", []int{2}},
		{"the only one of its topic", "acab", []int{1}},
		{"the first of the last topic", "aab", []int{2}},
		{"all", "abab", []int{0, 1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := leave(t, c.topics)
			for _, i := range c.bad {
				l.change(t, i, flip)
			}
			l.wantVerified(t, c.bad)
			imported := l.wantExported(t, c.bad)
			l.wantLeft(t, c.bad)
			l.wantVerified(t, c.bad)
			if err := boltfile.Compact(l.path, ""); !errors.Is(err, ErrDamaged) {
				t.Errorf("compact: got %v, want %v", err, ErrDamaged)
			}
			l.wantExported(t, c.bad)
			opened(t, imported)
			l.wantRedacted(t, c.bad)
			filetest.Sound(t, l.path)
		})
	}
}

// wantLeft opens the file: what is damaged is an error for those that read it, the
// rest can be read, and topics go on.
func (l *left) wantLeft(t *testing.T, bad []int) {
	t.Helper()
	s, err := Open(l.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != l.epoch {
		t.Errorf("epoch: got %q, want %q: no position has become wrong", s.Epoch(), l.epoch)
	}
	for _, topic := range []string{"a", "b", "c", "d"} {
		after, damaged := uint64(0), false // the last damaged offset
		for _, i := range bad {
			if l.said[i].topic == topic {
				after, damaged = l.said[i].Offset, true
			}
		}
		for _, r := range []store.Range{{}, {Newest: true}} {
			p, err := s.Read(t.Context(), topic, r)
			if damaged {
				filetest.Explains(t, err, l.path, ErrDamaged, "export")
			} else if want := l.without(topic); err != nil || !slices.EqualFunc(p.Messages, want, filetest.Same) {
				t.Errorf("topic %s: got %+v, %v, want %+v", topic, p.Messages, err, want)
			}
		}
		want := slices.DeleteFunc(l.without(topic), func(m store.Message) bool { return m.Offset <= after })
		p := read(t, s, topic, store.Range{After: after})
		if !slices.EqualFunc(p.Messages, want, filetest.Same) || !p.Complete {
			t.Errorf("topic %s, after %d: got %+v, complete %t, want %+v, true", topic, after, p.Messages, p.Complete, want)
		}
		all, top := l.without(topic), uint64(0)
		if len(all) > 0 {
			top = all[len(all)-1].Offset
		}
		next := say(t, s, topic, fmt.Sprintf(`"%s next"`, topic), store.Retention{})
		if last := l.said[len(l.said)-1].Offset; next.Offset <= last || next.Prev != top {
			t.Errorf("topic %s: got offset %d behind %d, want more than %d behind %d", topic, next.Offset, next.Prev, last, top)
		}
		l.said = append(l.said, spoken{topic, next})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// wantRedacted redacts what is damaged; then the topics are whole.
func (l *left) wantRedacted(t *testing.T, bad []int) {
	t.Helper()
	s, err := Open(l.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range bad {
		if err := s.Redact(t.Context(), l.said[i].topic, l.said[i].Offset); err != nil {
			t.Errorf("redact what is damaged: %v", err)
		}
	}
	for _, topic := range []string{"a", "b", "c", "d"} {
		p := read(t, s, topic, store.Range{})
		if want := l.without(topic, bad...); !slices.EqualFunc(p.Messages, want, filetest.Same) || !p.Complete {
			t.Errorf("topic %s without it: got %+v, complete %t, want %+v", topic, p.Messages, p.Complete, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// wantVerified holds Verify to the offsets of what is damaged.
func (l *left) wantVerified(t *testing.T, bad []int) {
	t.Helper()
	_, err := boltfile.Verify(l.path)
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("verify: got %v, want %v", err, ErrDamaged)
		return
	}
	for _, i := range bad {
		if want := fmt.Sprintf("the record at offset %d: ", l.said[i].Offset); strings.Count(err.Error(), want) != 1 {
			t.Errorf("verify: got %v, want %q once", err, want)
		}
	}
	if got := strings.Count(err.Error(), "the record at offset "); got != len(bad) {
		t.Errorf("verify: it names %d records, want %d: %v", got, len(bad), err)
	}
}

// wantExported exports all but what is damaged, and imports that.
func (l *left) wantExported(t *testing.T, bad []int) (imported string) {
	t.Helper()
	r, err := boltfile.OpenReader(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.Export(&b); !errors.Is(err, ErrDamaged) || strings.Count(err.Error(), "left out") != len(bad) {
		t.Errorf("export: got %v, want %d left out", err, len(bad))
	}
	imported = filepath.Join(t.TempDir(), "imported.db")
	text := b.String()
	if _, err := boltfile.Import(imported, &b); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var line boltfile.Line
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if m := string(line.Payload); !strings.HasPrefix(m, `"`+line.Topic+" ") {
			t.Errorf("topic %s: exported %s, which is another's", line.Topic, m)
		}
	}
	for _, topic := range []string{"a", "b", "c"} {
		if got, want := strings.Count(text, `"payload":"`+topic+` `), len(l.without(topic, bad...)); got != want {
			t.Errorf("topic %s: exported %d messages, want %d", topic, got, want)
		}
	}
	return imported
}

// At random: whatever is damaged, nothing else is lost, nothing is another's, and
// offsets go on.
func TestDamagedAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(need.Seed(t), 0))
	for range 15 {
		topics := ""
		for range 1 + r.IntN(30) {
			topics += string("abc"[r.IntN(3)])
		}
		l := leave(t, topics)
		bad := []int{}
		for range 1 + r.IntN(3) {
			if i := r.IntN(len(topics)); !slices.Contains(bad, i) {
				l.change(t, i, flip)
				bad = append(bad, i)
			}
		}
		slices.Sort(bad)
		l.wantVerified(t, bad)
		l.wantExported(t, bad)
		l.wantLeft(t, bad)
		l.wantRedacted(t, bad)
		if t.Failed() {
			t.Fatalf("said in %s, damaged %v", topics, bad)
		}
	}
}

// A disk that gives the right bytes after all gives all of the topic.
func TestADamagedRecordThatHeals(t *testing.T) {
	l := leave(t, "ab")
	l.change(t, 1, flip)
	l.wantVerified(t, []int{1})
	l.change(t, 1, flip)
	s := opened(t, l.path)
	if p := read(t, s, "b", store.Range{}); !slices.EqualFunc(p.Messages, l.without("b"), filetest.Same) {
		t.Errorf("got %+v, want %+v", p.Messages, l.without("b"))
	}
}

// A record that is not there is found missing, also where no other one follows on it.
func TestAMissingRecord(t *testing.T) {
	for name, c := range map[string]struct {
		topics string
		number int
	}{
		"in the middle":             {"ababab", 3},
		"the last of its topic":     {"ababaa", 3},
		"the only one of its topic": {"acab", 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := leave(t, c.topics)
			missing := l.said[c.number]
			l.change(t, c.number, remove)
			if _, err := boltfile.Verify(l.path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("offset %d: it is missing", missing.Offset)) {
				t.Errorf("verify: got %v, want %v and its offset", err, ErrDamaged)
			}
			s, err := Open(l.path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if next := say(t, s, missing.topic, `"next"`, store.Retention{}); next.Offset <= l.said[len(l.said)-1].Offset {
				t.Errorf("got offset %d again", next.Offset)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A record that stands where it does not belong is found, too.
func TestARecordThatDoesNotFit(t *testing.T) {
	for name, move := range map[string]func(key []byte) []byte{
		"beyond the last one": func(key []byte) []byte { key[8] ^= 1; return key },
		"of another topic":    func(key []byte) []byte { key[7] ^= 3; return key },
		"of no topic":         func(key []byte) []byte { key[0] ^= 1; return key },
		"with a longer key":   func(key []byte) []byte { return append(key, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := leave(t, "abab")
			filetest.Update(t, l.path, func(tx *bolt.Tx) error {
				b, was := tx.Bucket([]byte("messages")), l.key(3)
				value := bytes.Clone(b.Get(was))
				return errors.Join(b.Delete(was), b.Put(move(bytes.Clone(was)), value))
			})
			_, err := boltfile.Verify(l.path)
			filetest.Explains(t, err, l.path, ErrDamaged, "export")
			r, err := boltfile.OpenReader(l.path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var b bytes.Buffer
			if err := r.Export(&b); !errors.Is(err, ErrDamaged) || strings.Count(b.String(), "\n") != 3 {
				t.Errorf("export: got %v and %q, want the other three", err, b.String())
			}
		})
	}
}

// What is known of one topic can't be read: its calls fail, the others notice nothing.
func TestADamagedTopic(t *testing.T) {
	for name, key := range map[string]struct{ bucket, key string }{
		"its number": {"topics", "=b"},
		"its head":   {"messages", "\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			l := leave(t, "abab")
			filetest.Update(t, l.path, func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte(key.bucket))
				return b.Put([]byte(key.key), flip(bytes.Clone(b.Get([]byte(key.key)))))
			})
			s, err := Open(l.path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, appending := s.Append(t.Context(), "b", store.Message{}, store.Retention{}, func(store.Message) { t.Error("announced") })
			_, reading := s.Read(t.Context(), "b", store.Range{})
			for what, err := range map[string]error{
				"read": reading, "forget": s.Forget(t.Context(), "b"), "redact": s.Redact(t.Context(), "b", 2),
				"append": appending,
			} {
				if filetest.Explains(t, err, l.path, ErrDamaged, "backup"); errors.Is(err, ErrFailed) {
					t.Errorf("%s: got %v, and the store has failed for all", what, err)
				}
			}
			say(t, s, "a", "next", store.Retention{})
			if p := read(t, s, "a", store.Range{}); len(p.Messages) != 3 {
				t.Errorf("topic a: got %d messages, want 3", len(p.Messages))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			_, err = boltfile.Verify(l.path)
			filetest.Explains(t, err, l.path, ErrDamaged, "")
			r, err := boltfile.OpenReader(l.path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			topics, err := r.Topics()
			filetest.Explains(t, err, l.path, ErrDamaged, "")
			if len(topics) != 1 || topics[0].Name != "a" || topics[0].Messages != 3 {
				t.Errorf("topics: got %+v, want a alone", topics)
			}
			var b bytes.Buffer
			if err := r.Export(&b); !errors.Is(err, ErrDamaged) || strings.Count(b.String(), "\n") != 3 {
				t.Errorf("export: got %v and %q, want the three of a", err, b.String())
			}
		})
	}
}
