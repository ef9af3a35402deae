package forward

import (
	"errors"
	"io"
	"sync"
)

// What is forwarded may be a connection of hours in which hardly anything comes, and then a
// page of the history: each has little memory for itself, and is lent more for as long as
// more comes at once.
const (
	smallBuffer = 2 << 10
	largeBuffer = 32 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// carry copies until src ends, as io.Copy.
func carry(dst io.Writer, src io.Reader) (n int64, err error) {
	small := smallBuffers.Get().(*[smallBuffer]byte)
	defer smallBuffers.Put(small)
	var read, write error
	for read == nil && write == nil {
		var m int
		m, read, write = pass(dst, src, small[:])
		n += int64(m)
		if m == smallBuffer && read == nil && write == nil {
			var more int64
			more, read, write = carryMuch(dst, src)
			n += more
		}
	}
	if write != nil {
		return n, write
	}
	if errors.Is(read, io.EOF) {
		return n, nil
	}
	return n, read
}

// carryMuch copies for as long as there is more than it has room for. What it returns besides
// is why src could not be read, or dst not be written to.
func carryMuch(dst io.Writer, src io.Reader) (n int64, read, write error) {
	large := largeBuffers.Get().(*[largeBuffer]byte)
	defer largeBuffers.Put(large)
	for m := largeBuffer; m == largeBuffer && read == nil && write == nil; n += int64(m) {
		m, read, write = pass(dst, src, large[:])
	}
	return n, read, write
}

// pass copies what comes next.
func pass(dst io.Writer, src io.Reader, buffer []byte) (n int, read, write error) {
	if n, read = src.Read(buffer); n > 0 {
		_, write = dst.Write(buffer[:n])
	}
	return n, read, write
}

// buffers are what the body of an answer passes through.
type buffers struct{}

// Get implements httputil.BufferPool.
func (buffers) Get() []byte { return smallBuffers.Get().(*[smallBuffer]byte)[:] }

// Put implements httputil.BufferPool.
func (buffers) Put(b []byte) { smallBuffers.Put((*[smallBuffer]byte)(b)) }

// body is that of an answer. ReverseProxy has one buffer for all of it; what comes behind one
// that was full is taken out here.
type body struct {
	io.ReadCloser
	err error // why no more can be read
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// pour copies to dst what comes, as long as it is much. Its error is that of dst.
func (b *body) pour(dst io.Writer) (err error) {
	_, b.err, err = carryMuch(dst, b.ReadCloser)
	return err
}
