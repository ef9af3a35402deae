package transporttest

import (
	"io"
	"sync"
	"time"
)

// flow is a body that is read as it comes, whenever the client gets it.
type flow struct {
	io.ReadCloser
	coming chan piece
	closed chan struct{}
	once   sync.Once
}

// piece is what came at one time.
type piece struct {
	bytes []byte
	err   error // the last piece has one, io.EOF too
	at    time.Time
}

// overtaken is a body of which the pieces of a flow are passed on as gather says.
func overtaken(body io.ReadCloser, gather func(*flow) func() ([]byte, error)) io.ReadCloser {
	f := &flow{ReadCloser: body, coming: make(chan piece, 1000), closed: make(chan struct{})}
	go f.run()
	next := gather(f)
	return &parts{ReadCloser: f, gather: func(io.Reader) ([]byte, error) { return next() }}
}

func (f *flow) run() {
	for {
		bytes, err := one(f.ReadCloser)
		select {
		case f.coming <- piece{bytes, err, time.Now()}:
		case <-f.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

func (f *flow) next() piece {
	select {
	case p := <-f.coming:
		return p
	case <-f.closed:
		return piece{err: errCut}
	}
}

func (f *flow) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.ReadCloser.Close()
}
