package boltstore

import (
	"slices"
	"sort"

	"github.com/go-chime/chime/store"
)

// pick decides what a page holds. It is called with mu held.
func (t *topic) pick(r store.Range, from loader) ([]entry, store.Page, error) {
	p := store.Page{Top: t.seen.top, Complete: true}
	if r.Newest {
		picked, err := t.newest(r, from)
		return picked, p, err
	}
	p.Complete = t.seen.floor <= r.After && r.After <= t.seen.top
	picked, more, err := t.after(r, from)
	p.More = more
	return picked, p, err
}

func (t *topic) newest(r store.Range, from loader) (picked []entry, err error) {
	size := 0
blocks:
	for _, b := range slices.Backward(t.blocks) {
		if b.last <= t.seen.floor {
			break
		}
		if b.first > t.seen.top {
			continue // not committed yet
		}
		entries, err := t.entries(b, from)
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Backward(entries[:beyond(entries, t.seen.top)]) {
			if size += e.size; e.seq <= t.seen.floor || !fits(r, len(picked), size) {
				break blocks
			}
			picked = append(picked, e)
		}
	}
	slices.Reverse(picked)
	return picked, nil
}

func (t *topic) after(r store.Range, from loader) (picked []entry, more bool, err error) {
	size, start := 0, max(r.After, t.seen.floor)
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].last > start })
	for _, b := range t.blocks[i:] {
		if b.first > t.seen.top {
			break
		}
		entries, err := t.entries(b, from)
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries[beyond(entries, start):] {
			if e.seq > t.seen.top {
				return picked, false, nil
			}
			if size += e.size; !fits(r, len(picked), size) {
				return picked, true, nil
			}
			picked = append(picked, e)
		}
	}
	return picked, false, nil
}

// entries returns those of b without keeping them in memory: who reads old
// messages should not make the store remember them.
func (t *topic) entries(b *block, from loader) ([]entry, error) {
	if b.entries != nil {
		return b.entries, nil
	}
	return from(t, b)
}

// fits reports whether a page that has n messages takes one more, with which it has size bytes.
func fits(r store.Range, n, size int) bool {
	return (r.Limit <= 0 || n < r.Limit) && (r.Bytes <= 0 || size <= r.Bytes || n == 0)
}
