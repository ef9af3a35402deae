package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// posts are the half of a connection on which the client sends, where the other
// half only brings: POSTs.
type posts struct {
	visit
	path  string        // in the mount
	heard atomic.Uint64 // counted frames, those of former connections too

	mu     sync.Mutex // guards what follows, and keeps POSTs in order
	secret string     // that of the hello
	posted uint64     // counted frames
}

// posting is a line whose client sends in POSTs.
type posting interface {
	line
	batch(first, received uint64, frames ...json.RawMessage) (applied uint64, err error)
	// goOn is called when the connection is promoted, with what has come on the former ones.
	goOn(heard uint64)
}

func (l *posts) send(f frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.posted + 1
	if f.counted() {
		l.posted++
	}
	applied, err := l.batch(first, 0, f.text())
	if no, ok := errors.AsType[*refusedError](err); ok && no.status == http.StatusGone {
		return nil // of a POST that came twice the first may have ended the client socket: the other half is told
	}
	if err == nil && applied != l.posted {
		err = fmt.Errorf("the POST has %d frames applied, want %d", applied, l.posted)
	}
	return err
}

// batch posts frames, and returns how many the server then has.
func (l *posts) batch(first, received uint64, frames ...json.RawMessage) (applied uint64, err error) {
	if frames == nil {
		frames = []json.RawMessage{}
	}
	body, err := json.Marshal(obj{"first": first, "received": received, "frames": frames})
	if err != nil {
		return 0, err
	}
	answer, err := l.postAgain(l.path, body, http.Header{"Content-Type": {"application/json"}, "Chime-Secret": {l.secret}})
	if err != nil {
		return 0, err
	}
	var got struct{ Applied uint64 }
	if err := json.Unmarshal(answer, &got); err != nil {
		return 0, fmt.Errorf("the POST's answer is %s: %w", answer, err)
	}
	return got.Applied, nil
}

// postAgain is post, and sends the same again where a box on the way says that there was no
// answer.
func (l *posts) postAgain(path string, body []byte, head http.Header) (answer []byte, err error) {
	for range 3 {
		answer, err = l.post(path, body, head.Clone())
		if no, ok := errors.AsType[*refusedError](err); !ok || no.status != http.StatusBadGateway {
			break
		}
	}
	return answer, err
}

// post sends a POST. It carries another X-Visit than the request that opened
// the connection: the channel must only ever see that.
func (l *posts) post(path string, body []byte, head http.Header) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, l.mount+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = head
	req.Header.Set("Authorization", l.head.Get("Authorization"))
	req.Header.Set("X-Visit", "a POST")
	resp, err := l.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, refused(resp)
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// bye ends the client socket with a secret.
func (l *posts) bye(secret string) {
	_, _ = l.post("/bye", []byte(secret), http.Header{"Content-Type": {"text/plain"}})
}
