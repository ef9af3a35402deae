package transporttest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// posts has f carry the POSTs.
func posts(f carrier) carrier {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return f(r, next)
		}
		return next.RoundTrip(r)
	}
}

var repeatedPosts = posts(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	first := r.Clone(r.Context())
	first.Body = io.NopCloser(bytes.NewReader(body))
	if err := drop(next.RoundTrip(first)); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return next.RoundTrip(r)
})

// drop reads an answer that nobody gets.
func drop(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func unansweredPosts() carrier {
	var count atomic.Int64
	return posts(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if count.Add(1)%2 == 0 {
			return next.RoundTrip(r)
		}
		if err := drop(next.RoundTrip(r)); err != nil {
			return nil, err
		}
		return answer(r, http.StatusBadGateway, "bad gateway"), nil
	})
}

// reorderedPosts holds back one POST at a time, for another to overtake it.
func reorderedPosts(wait time.Duration) carrier {
	var mu sync.Mutex
	var waiting chan struct{}
	return posts(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		mu.Lock()
		if overtaken := waiting; overtaken != nil {
			waiting = nil
			mu.Unlock()
			defer close(overtaken)
			return next.RoundTrip(r)
		}
		mine := make(chan struct{})
		waiting = mine
		mu.Unlock()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-mine:
		case <-timer.C:
			mu.Lock()
			if waiting == mine {
				waiting = nil
			}
			mu.Unlock()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		return next.RoundTrip(r)
	})
}
