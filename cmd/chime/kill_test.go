package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime/internal/need"
	"github.com/go-chime/chime/store/boltstore/boltfile"
)

const (
	killPublishers = 64
	killRooms      = 4
	killMost       = 1200 // messages a round: a client that comes back may have missed 500 of a room
)

// A server that is killed while many publish takes nothing with it that it has
// answered for, or that anybody has seen. What the process wrote is with the
// kernel, which is not killed; that it is on the disk is shown in boltstore.
func TestKilledWhileManyPublish(t *testing.T) {
	t.Parallel() // it waits
	rounds := need.Rounds(2, 5)
	if n, err := strconv.Atoi(os.Getenv("CHIME_KILLS")); err == nil {
		rounds = n // 50 in the night
	}
	k := &killing{
		t: t, random: rand.New(rand.NewPCG(need.Seed(t), 0)), db: filepath.Join(t.TempDir(), "chime.db"),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: killPublishers}},
	}
	for round := range rounds {
		k.kill(round)
		sound(t, k.db)
		k.look(round)
		sound(t, k.db)
		if t.Failed() {
			return
		}
	}
}

// sound fails the test if the file, which nobody has open, is not consistent.
func sound(t *testing.T, db string) {
	t.Helper()
	if _, err := boltfile.Verify(db); err != nil {
		t.Error(err)
	}
}

type killing struct {
	t      *testing.T
	random *rand.Rand
	db     string
	http   *http.Client
	at     [killRooms]string // the position of each room that was looked at last

	mu    sync.Mutex
	acked [killRooms][]string   // answered 2xx in this round
	seen  [killRooms][]retained // by a subscriber in this round
}

// retained is an event of a stream that has an id.
type retained struct{ id, text string }

func (r retained) offset() (n uint64) {
	_, s, _ := strings.Cut(r.id, ":")
	n, _ = strconv.ParseUint(s, 10, 64)
	return n
}

func (k *killing) serve() *running {
	return program(k.t, "serve", "--addr", "127.0.0.1:0", "--db", k.db)
}

func (r retained) epoch() string { e, _, _ := strings.Cut(r.id, ":"); return e }

// kill lets 64 clients publish, and kills the server at a random message.
func (k *killing) kill(round int) {
	t := k.t
	t.Helper()
	k.acked, k.seen = [killRooms][]string{}, [killRooms][]retained{}
	server := k.serve()
	url := server.url(t)
	var wg sync.WaitGroup
	for room := range killRooms {
		stream := k.open(url, room, k.at[room])
		if k.at[room] == "" {
			k.at[room] = stream.at
		}
		wg.Go(func() {
			defer stream.body.Close()
			for e, err := stream.next(); err == nil; e, err = stream.next() {
				k.mu.Lock()
				k.seen[room] = append(k.seen[room], e)
				k.mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for k.post(url, 0, k.once(round)) == nil { // as one that gets no answer
			k.mu.Lock()
			if !slices.Contains(k.acked[0], k.once(round)) {
				k.acked[0] = append(k.acked[0], k.once(round))
			}
			k.mu.Unlock()
		}
	})
	left := new(atomic.Int64)
	left.Store(1 + k.random.Int64N(killMost))
	for w := range killPublishers {
		wg.Go(func() {
			room := w % killRooms
			for i := 0; ; i++ {
				text := fmt.Sprintf("%d.%d.%d", round, w, i)
				if k.post(url, room, text) != nil {
					return
				}
				k.mu.Lock()
				k.acked[room] = append(k.acked[room], text)
				k.mu.Unlock()
				if left.Add(-1) == 0 {
					_ = server.cmd.Process.Kill() // while 63 others wait for their answer
				}
			}
		})
	}
	wg.Wait()
	_ = server.wait() // it was killed, says the error
	k.http.CloseIdleConnections()
}

// look starts the server again and compares what it replays with what was seen
// and answered.
func (k *killing) look(round int) {
	t := k.t
	t.Helper()
	server := k.serve()
	url := server.url(t)
	acked, saw, left := 0, 0, 0
	for room := range killRooms {
		stream := k.open(url, room, k.at[room])
		was := retained{id: k.at[room]}
		if !stream.recovered || was.epoch() != (retained{id: stream.at}).epoch() {
			t.Fatalf("room %d: behind %s, the position %s is recovered: %t", room, stream.at, was.id, stream.recovered)
		}
		if room == 0 && slices.Contains(k.acked[0], k.once(round)) { // once more, after the kill
			for range 2 {
				if err := k.post(url, room, k.once(round)); err != nil {
					t.Fatal(err)
				}
			}
		}
		marker := fmt.Sprintf("%d.%d.0", round, killPublishers+room)
		if err := k.post(url, room, marker); err != nil {
			t.Fatal(err)
		}
		e, err := stream.next()
		var replay []retained
		for ; err == nil && e.text != marker; e, err = stream.next() {
			replay = append(replay, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		k.compare(room, replay)
		left += len(replay)
		acked, saw = acked+len(k.acked[room]), saw+len(k.seen[room])

		last := retained{id: k.at[room]}
		if len(replay) > 0 {
			last = replay[len(replay)-1]
		}
		if e.offset() <= last.offset() || e.epoch() != last.epoch() {
			t.Errorf("room %d: got %v after %v, want a higher offset and the same epoch", room, e, last)
		}
		k.at[room] = e.id
		stream.body.Close()
	}
	t.Logf("round %d: %d answered, %d seen, %d left", round, acked, saw, left)
	k.http.CloseIdleConnections()
	if err := server.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := server.wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

// compare holds a replay to what was seen, in its order, and answered.
func (k *killing) compare(room int, replay []retained) {
	t := k.t
	t.Helper()
	times := map[string]int{}
	next := map[string]int{} // message of each publisher: its messages are in its order
	before := retained{id: k.at[room]}
	for _, e := range replay {
		times[e.text]++
		if e.offset() <= before.offset() || e.epoch() != before.epoch() {
			t.Errorf("room %d: replayed %v after %v", room, e, before)
		}
		before = e
		dot := strings.LastIndexByte(e.text, '.')
		if i, _ := strconv.Atoi(e.text[dot+1:]); i != next[e.text[:dot]] {
			t.Errorf("room %d: replayed %s, want number %d of it", room, e.text, next[e.text[:dot]])
		}
		next[e.text[:dot]]++
	}
	for _, text := range k.acked[room] {
		if times[text] != 1 {
			t.Errorf("room %d: %s was answered, and is replayed %d times", room, text, times[text])
		}
	}
	for i, e := range k.seen[room] {
		if i >= len(replay) || replay[i] != e {
			t.Errorf("room %d: the subscriber has seen %v as number %d, and is replayed something else", room, e, i)
			return
		}
	}
}

// once is the message of a round that is posted again and again, with the same key.
func (k *killing) once(round int) string { return fmt.Sprintf("%d.once.0", round) }

func (k *killing) post(url string, room int, text string) error {
	body := fmt.Sprintf(`{"name":"Ann","message":%q,"id":%q}`, text, text)
	resp, err := k.http.Post(fmt.Sprintf("%s/rooms/%d/messages", url, room), "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, said)
	}
	return nil // the answer may be cut off behind its status: it was answered
}

// roomStream is a receive-only stream of a room, behind the reply to its join.
type roomStream struct {
	body      io.ReadCloser
	lines     *bufio.Reader
	at        string // the position of the reply
	recovered bool
}

func (k *killing) open(url string, room int, since string) *roomStream {
	t := k.t
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/socket/sse?join=chat_room:%d&last=0", url, room), nil)
	if err != nil {
		t.Fatal(err)
	}
	if since != "" {
		req.Header.Set("Last-Event-ID", since)
	}
	resp, err := k.http.Do(req) //nolint:bodyclose // by whoever is done with the stream
	if err != nil {
		t.Fatal(err)
	}
	s := &roomStream{body: resp.Body, lines: bufio.NewReader(resp.Body)}
	_, data, err := s.event()
	var reply [5]json.RawMessage
	var p struct {
		Response struct {
			History struct {
				Epoch     string
				Offset    int
				Recovered bool
			} `json:"@history"`
		}
	}
	if err := errors.Join(err, json.Unmarshal([]byte(data), &reply)); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if err := json.Unmarshal(reply[4], &p); err != nil || p.Response.History.Epoch == "" {
		t.Fatalf("got %s, %v; want the reply to the join", data, err)
	}
	h := p.Response.History
	s.at, s.recovered = fmt.Sprintf("%s:%d", h.Epoch, h.Offset), h.Recovered
	return s
}

// next returns the next event that is kept.
func (s *roomStream) next() (retained, error) {
	for {
		id, data, err := s.event()
		if err != nil {
			return retained{}, err
		}
		var f [5]json.RawMessage
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			return retained{}, fmt.Errorf("%s: %w", data, err)
		}
		var p struct{ Message string }
		if string(f[3]) != `"message_new"` {
			continue
		}
		if err := json.Unmarshal(f[4], &p); err != nil {
			return retained{}, err
		}
		return retained{id, p.Message}, nil
	}
}

// event returns the next event that has come whole.
func (s *roomStream) event() (id, data string, err error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "id":
			id = value
		case name == "data":
			data = value
		case line == "\n" && data != "":
			return id, data, nil
		}
	}
}
