package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its pages: at one that is wrong it panics, and while it looks for
// free ones it does so in a goroutine of its own, where nobody can recover. So
// what bbolt reads to open a file is checked before, with reads that can't fault.
// What is inside the values is not looked at here.

const (
	pageHeader    = 16
	elementBytes  = 16
	bucketHeader  = 16
	branchPage    = 0x01
	leafPage      = 0x02
	freePage      = 0x10
	leafBucket    = 0x01
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	metaBytes     = 64
	smallestPage  = 1 << 9
	largestPage   = 1 << 24
	deepestBranch = 64
	manyFree      = 0xFFFF     // as a page's count: the list begins with its length
	notListed     = ^uint64(0) // as the page of the list: there is none
)

// pages is the tree of a bbolt file, and its list of free pages.
type pages struct {
	file io.ReaderAt
	size uint64 // of a page
	high uint64 // pages from here on are not in use
	root uint64
	list uint64   // the page of the list, or notListed
	seen []uint64 // bits of the pages that walk found in use
}

// checkPages returns what is wrong with a bbolt file of length bytes: with all of
// it or, if it has one, with the list of its free pages.
func checkPages(file io.ReaderAt, length int64, all bool) error {
	p, err := pagesOf(file, length)
	if err != nil {
		return err
	}
	if p.high > uint64(length)/p.size {
		return fmt.Errorf("%w: it ends after %d bytes, and should have %d", ErrDamaged, length, p.high*p.size)
	}
	p.seen = make([]uint64, p.high/64+1)
	if all || p.list == notListed {
		err = p.walk(p.root, nil, nil, 0)
	}
	if err == nil && p.list != notListed {
		err = p.free()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// pagesOf finds the newer one of the meta pages that are whole. Like bbolt, it looks
// for the second one wherever the size of a page may have put it.
func pagesOf(file io.ReaderAt, length int64) (p pages, err error) {
	newest, found := uint64(0), false
	for at := int64(0); at < length && at <= largestPage; at = max(2*at, smallestPage) {
		var b [pageHeader + metaBytes]byte
		if _, err := file.ReadAt(b[:], at); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return p, err
		}
		m := b[pageHeader:]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		size := uint64(binary.LittleEndian.Uint32(m[8:]))
		if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint64(m[56:]) != sum.Sum64() ||
			binary.LittleEndian.Uint32(m[4:]) != boltVersion || at != 0 && size != uint64(at) || size < smallestPage || size > largestPage {
			continue
		}
		if txid := binary.LittleEndian.Uint64(m[48:]); !found || txid > newest {
			newest, found = txid, true
			p = pages{
				file: file, size: size, root: binary.LittleEndian.Uint64(m[16:]),
				list: binary.LittleEndian.Uint64(m[32:]), high: binary.LittleEndian.Uint64(m[40:]),
			}
		}
	}
	if !found {
		return p, ErrForeign
	}
	return p, nil
}

// free checks the list of free pages: in order, in range and, where walk has been, not in use.
func (p *pages) free() error {
	page, err := p.read(p.list)
	if err == nil {
		err = p.freeIDs(page)
	}
	if err != nil {
		return fmt.Errorf("page %d, the list of free pages: %w", p.list, err)
	}
	return nil
}

func (p *pages) freeIDs(page []byte) error {
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
		if p.seen[id/64]&(1<<(id%64)) != 0 {
			return fmt.Errorf("page %d is in use", id)
		}
		before = id
	}
	return nil
}

// walk checks the page with this id and those under it. Their keys have to be
// from low on and below high, where these are given.
func (p *pages) walk(id uint64, low, high []byte, depth int) error {
	if depth > deepestBranch {
		return fmt.Errorf("page %d lies too deep", id)
	}
	page, err := p.read(id)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i := id; i < id+uint64(len(page))/p.size; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			return fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	if err := p.elements(page, low, high, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read returns the page with this id, with the pages over which it continues.
func (p *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, errRange
	}
	head := make([]byte, p.size)
	if _, err := p.file.ReadAt(head, int64(id*p.size)); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint64(head); got != id {
		return nil, fmt.Errorf("it says that it is page %d", got)
	}
	more := uint64(binary.LittleEndian.Uint32(head[12:]))
	if id+more >= p.high {
		return nil, fmt.Errorf("it continues over %d pages, too many", more)
	}
	if more == 0 {
		return head, nil
	}
	page := make([]byte, (1+more)*p.size)
	_, err := p.file.ReadAt(page, int64(id*p.size))
	return page, err
}

var (
	errRange   = errors.New("it is out of range")
	errType    = errors.New("it is of the wrong type")
	errBounds  = errors.New("an element leads out of it")
	errOrder   = errors.New("its keys are out of order")
	errChild   = errors.New("a branch has no children")
	errBucket  = errors.New("a bucket is too short")
	errElement = errors.New("an element has unknown flags")
)

// elements checks what is in a page.
func (p *pages) elements(page, low, high []byte, depth int) error {
	flags := binary.LittleEndian.Uint16(page[8:])
	count := int(binary.LittleEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage {
		return errType
	}
	if flags == branchPage && count == 0 {
		return errChild
	}
	if pageHeader+count*elementBytes > len(page) {
		return errBounds
	}
	type child struct {
		id  uint64
		key []byte
	}
	var children []child
	before := low
	for i := range count {
		at := pageHeader + i*elementBytes
		e := page[at:]
		var pos, ksize, vsize uint64
		if flags == branchPage {
			pos, ksize = uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:]))
		} else {
			pos, ksize, vsize = uint64(binary.LittleEndian.Uint32(e[4:])), uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
		}
		if pos < elementBytes || ksize == 0 || uint64(at)+pos+ksize+vsize > uint64(len(page)) {
			return errBounds
		}
		key := e[pos : pos+ksize]
		if order := bytes.Compare(before, key); order > 0 || order == 0 && i > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return errOrder
		}
		before = key
		if flags == branchPage {
			children = append(children, child{binary.LittleEndian.Uint64(e[8:]), key})
			continue
		}
		switch binary.LittleEndian.Uint32(e) {
		case 0:
		case leafBucket:
			if err := p.bucket(e[pos+ksize:pos+ksize+vsize], depth); err != nil {
				return fmt.Errorf("bucket %.20q: %w", key, err)
			}
		default:
			return errElement
		}
	}
	for i, c := range children {
		end := high
		if i+1 < len(children) {
			end = children[i+1].key
		}
		if err := p.walk(c.id, c.key, end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the value that is a bucket: it leads to a page, or has it in it.
func (p *pages) bucket(value []byte, depth int) error {
	if len(value) < bucketHeader {
		return errBucket
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return p.walk(root, nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return errBucket
	}
	if depth++; depth > deepestBranch || binary.LittleEndian.Uint16(inline[8:]) != leafPage {
		return errType
	}
	return p.elements(inline, nil, nil, depth)
}
