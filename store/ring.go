package store

import "sort"

const ringMin = 4 // messages; most topics are small, and there may be many

// ring holds messages in the order of their offsets. It grows at its young end
// and is dropped from its old one without moving what lies between: a slice
// that is cut at the front would copy a million messages every now and then,
// with the topic locked. The zero value is empty.
type ring struct {
	buf  []Message // its length is 0 or a power of two
	head int       // where in buf the oldest is
	n    int
}

// at returns the message with index i, from 0, the oldest, to n-1.
func (r *ring) at(i int) *Message { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

// after returns the index of the first message beyond offset, n if there is none.
func (r *ring) after(offset uint64) int {
	return sort.Search(r.n, func(i int) bool { return r.at(i).Offset > offset })
}

// copyTo fills dst with the messages from index i on.
func (r *ring) copyTo(dst []Message, i int) {
	if len(dst) > 0 {
		k := copy(dst, r.buf[(r.head+i)&(len(r.buf)-1):])
		copy(dst[k:], r.buf)
	}
}

func (r *ring) push(m *Message) {
	if r.n == len(r.buf) {
		r.resize(max(ringMin, 2*len(r.buf)))
	}
	r.n++
	*r.at(r.n - 1) = *m
}

// drop removes the k oldest messages.
func (r *ring) drop(k int) {
	for i := range k {
		*r.at(i) = Message{} // so that the payload can be freed
	}
	r.head = (r.head + k) & (len(r.buf) - 1)
	r.n -= k
	size := len(r.buf)
	for size > ringMin && r.n <= size/4 { // not at a half: one message to and fro would resize each time
		size /= 2
	}
	if r.n == 0 {
		size = 0
	}
	if size < len(r.buf) {
		r.resize(size)
	}
}

// remove takes out the message with index i. It moves all younger ones: what is
// redacted is rare, and mostly young.
func (r *ring) remove(i int) {
	for ; i < r.n-1; i++ {
		*r.at(i) = *r.at(i + 1)
	}
	*r.at(i) = Message{}
	r.n--
}

func (r *ring) resize(size int) {
	buf := make([]Message, size)
	r.copyTo(buf[:r.n], 0)
	r.buf, r.head = buf, 0
}
