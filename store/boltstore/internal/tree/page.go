package tree

import (
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
)

// Read returns the page that r asks for, as it is in tx at the time now.
func Read(tx *bolt.Tx, name string, r store.Range, now int64) (store.Page, error) {
	s, err := readState(tx)
	if err != nil {
		return store.Page{}, err
	}
	id, err := find(tx, name)
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Epoch: s.Epoch, Messages: []store.Message{}, Complete: true}
	if id == 0 {
		page.Complete = r.Newest && (r.Before == 0 || r.Before > s.horizon) || !r.Newest && r.After == 0 && s.horizon == 0
		return page, nil
	}
	p := pager{Page: page, r: r, topic: id, now: now, c: tx.Bucket(messageBucket).Cursor()}
	if p.head, err = headAt(p.c, id); err != nil {
		return page, badTopic(name, err)
	}
	p.Top = p.head.Top
	if r.Newest {
		err = p.newest()
	} else {
		err = p.after()
	}
	return p.Page, err
}

// pager fills one page.
type pager struct {
	store.Page
	r     store.Range
	topic uint64
	head  Head
	now   int64
	c     *bolt.Cursor
	size  int // bytes of payload
}

// newest goes back from an offset, or from the head.
func (p *pager) newest() error {
	_, at, ok := firstReadable(p.c, p.topic, p.head.Floor+1)
	incomplete := p.head.Floor > p.head.since || ok && p.head.aged(at, p.now)
	p.Complete = !incomplete && (p.r.Before == 0 || p.r.Before > p.head.since)
	end := headKey(p.topic)
	if p.r.Before > 0 {
		end = recordKey(p.topic, p.r.Before)
	}
	p.c.Seek(end) // what is found there is not before it: the head is behind all
	for k, v := p.c.Prev(); ; k, v = p.c.Prev() {
		offset, ok := within(p.topic, k)
		if !ok || offset <= p.head.Floor {
			break
		}
		rec, err := decodeRecord(k, v)
		if err != nil {
			return badRecord(offset, err)
		}
		if p.head.aged(rec.at, p.now) {
			break
		}
		if !p.take(offset, &rec) {
			p.More = true
			break
		}
	}
	slices.Reverse(p.Messages)
	return nil
}

// after goes on from an offset.
func (p *pager) after() error {
	floor := agedFloor(p.c, p.topic, &p.head, p.now)
	p.Complete = floor <= p.r.After && p.r.After <= p.Top
	for k, v := p.c.Seek(recordKey(p.topic, max(p.r.After, floor)+1)); ; k, v = p.c.Next() {
		offset, ok := within(p.topic, k)
		if !ok || offset > p.Top {
			return nil
		}
		rec, err := decodeRecord(k, v)
		if err != nil {
			return badRecord(offset, err)
		}
		if !p.take(offset, &rec) {
			p.More = true
			return nil
		}
	}
}

// take adds a message, or reports that the page is full.
func (p *pager) take(offset uint64, rec *record) bool {
	p.size += len(rec.data)
	if n := len(p.Messages); p.r.Limit > 0 && n == p.r.Limit || p.r.Bytes > 0 && p.size > p.r.Bytes && n > 0 {
		return false
	}
	p.Messages = append(p.Messages, rec.message(offset))
	return true
}

// agedFloor returns the highest offset that is trimmed or has aged. Messages beyond
// the floor age in their order, so where any have, it halves the offsets in
// between: that may be many since the topic was last looked at.
func agedFloor(c *bolt.Cursor, topic uint64, h *Head, now int64) uint64 {
	low, high := h.Floor, h.Top // aged up to low, and not beyond high
	if h.Keep.Age <= 0 {
		return low
	}
	if _, at, ok := firstReadable(c, topic, low+1); !ok || !h.aged(at, now) {
		return low
	}
	for low < high {
		middle := low + (high-low)/2
		if offset, at, ok := firstReadable(c, topic, middle+1); ok && offset <= high && h.aged(at, now) {
			low = offset
		} else {
			high = middle
		}
	}
	return low
}

// firstReadable returns the first message from an offset on whose time is known.
func firstReadable(c *bolt.Cursor, topic, from uint64) (offset uint64, at int64, ok bool) {
	for k, v := c.Seek(recordKey(topic, from)); ; k, v = c.Next() {
		if offset, ok = within(topic, k); !ok {
			return 0, 0, false
		}
		if rec, err := decodeRecord(k, v); err == nil {
			return offset, rec.at, true
		}
	}
}
