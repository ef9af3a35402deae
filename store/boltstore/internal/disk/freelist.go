package disk

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
)

// A file that was closed has a list of its free pages. One that was not has none, since
// bbolt would write all of it with each commit. Then bbolt looks for free pages
// itself: it reads all pages through the memory map, in a goroutine of its own, where
// nobody can recover from a damaged one. So the list is written before bbolt opens
// the file, as bbolt would write it: behind all pages that are in use, and then as
// the next transaction in the other one of the two meta pages. A crash in between
// leaves the file as it was.

// checkList checks the list of free pages: in order, in range and, where walk has been, not in use.
func (p *pages) checkList() error {
	page, err := p.read(p.list)
	if err == nil {
		err = p.checkFree(page)
	}
	if err != nil {
		return fmt.Errorf("page %d, the list of free pages: %w", p.list, err)
	}
	return nil
}

func (p *pages) checkFree(page []byte) error {
	if binary.LittleEndian.Uint16(page[8:]) != freePage {
		return errType
	}
	ids, n := page[pageHeader:], uint64(binary.LittleEndian.Uint16(page[10:]))
	if n == manyFree {
		n, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids))/8 {
		return errBounds
	}
	before := uint64(1) // the first two pages are never free
	for ; n > 0; n-- {
		id := binary.LittleEndian.Uint64(ids)
		ids = ids[8:]
		if id <= before {
			return errOrder
		}
		if id >= p.high {
			return errRange
		}
		if p.used.has(id) {
			return fmt.Errorf("page %d is in use", id)
		}
		before = id
	}
	return nil
}

// writeList writes the list of the pages that are not in use to the file of p. It has
// sync sync all that was written before, so that the list is not younger than what
// it speaks of. Two processes may do it at the same time, since they write the same.
func (p *pages) writeList(to *os.File, sync func(*os.File) error) error {
	list := make([]byte, pageHeader, p.size)
	var n uint64
	for id := uint64(2); id < p.high; id++ {
		if !p.used.has(id) {
			list = binary.LittleEndian.AppendUint64(list, id)
			n++
		}
	}
	if n >= manyFree {
		list = append(list, make([]byte, 8)...)
		copy(list[pageHeader+8:], list[pageHeader:])
		binary.LittleEndian.PutUint64(list[pageHeader:], n)
		n = manyFree
	}
	length := (uint64(len(list)) + p.size - 1) / p.size
	putHeader(list, p.high, freePage, uint16(n), uint32(length-1))
	list = append(list, make([]byte, length*p.size-uint64(len(list)))...)
	if _, err := to.WriteAt(list, int64(p.high*p.size)); err != nil {
		return err
	}
	if err := sync(to); err != nil {
		return err
	}

	b, next := p.meta, p.txid+1
	putHeader(b[:], next%2, metaPage, 0, 0)
	m := b[pageHeader:]
	binary.LittleEndian.PutUint64(m[32:], p.high)
	binary.LittleEndian.PutUint64(m[40:], p.high+length)
	binary.LittleEndian.PutUint64(m[48:], next)
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaBytes-8])
	binary.LittleEndian.PutUint64(m[metaBytes-8:], sum.Sum64())
	_, err := to.WriteAt(b[:], int64(next%2*p.size))
	return err
}

func putHeader(page []byte, id uint64, kind, count uint16, more uint32) {
	binary.LittleEndian.PutUint64(page, id)
	binary.LittleEndian.PutUint16(page[8:], kind)
	binary.LittleEndian.PutUint16(page[10:], count)
	binary.LittleEndian.PutUint32(page[12:], more)
}
