package server

import "sync"

const (
	leastBuffer  = 4 << 10
	bufferGrowth = 8
	bufferEnd    = 512 // behind what just fits, for the end of it
)

// buffers are used again: those of 4, 32 and 256 KiB, each and a bufferEnd.
var buffers [3]sync.Pool

// buffer has what comes of a body. It grows as that does: one that was announced and does
// not come holds no more memory than eight times what has come. The zero value is empty.
type buffer struct {
	bytes []byte
	size  int     // which of the buffers it is
	kept  *[]byte // as the pool has it; nil beyond them
}

// grow makes room behind n bytes that are there, of which there may be so many.
func (b *buffer) grow(n, most int) {
	if n < len(b.bytes) {
		return
	}
	var larger buffer
	switch {
	case b.bytes == nil:
		larger.borrow(0)
	case b.size+1 < len(buffers):
		larger.borrow(b.size + 1)
	default:
		larger = buffer{bytes: make([]byte, min(bufferGrowth*len(b.bytes), most+bufferEnd)), size: len(buffers)}
	}
	copy(larger.bytes, b.bytes[:n])
	b.release()
	*b = larger
}

// borrow makes it one of the buffers.
func (b *buffer) borrow(i int) {
	kept, _ := buffers[i].Get().(*[]byte)
	if kept == nil {
		size := leastBuffer
		for range i {
			size *= bufferGrowth
		}
		fresh := make([]byte, size+bufferEnd)
		kept = &fresh
	}
	*b = buffer{*kept, i, kept}
}

// release makes it empty. What has come must not be used any more.
func (b *buffer) release() {
	if b.kept != nil {
		buffers[b.size].Put(b.kept)
	}
	*b = buffer{}
}
