package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its pages: at one that is wrong it panics. What it reads to open a
// file is checked before, with reads that can't fault. What is inside the values is
// not looked at here.

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
	metaPage      = 0x04
	metaBytes     = 64
	smallestPage  = 1 << 9
	largestPage   = 1 << 24
	deepestBranch = 64
	manyFree      = 0xFFFF     // as a page's count: the list begins with its length
	notListed     = ^uint64(0) // as the page of the list: there is none
)

// pages is the tree of a bbolt file, and its list of free pages.
type pages struct {
	file   io.ReaderAt
	meta   [pageHeader + metaBytes]byte // the page that the rest is from
	size   uint64                       // of a page
	high   uint64                       // pages from here on are not in use
	root   uint64
	list   uint64  // the page of the list, or notListed
	txid   uint64  // of the last transaction
	used   pageSet // pages that are in use
	unread pageSet // those of them that are leaves of buckets, and were not read
	all    bool    // there are to be none
	alone  bool    // a page is checked without those below it
	head   [pageHeader]byte
}

// pageSet is a set of page ids.
type pageSet []uint64

func (b pageSet) has(id uint64) bool { return b[id/64]&(1<<(id%64)) != 0 }
func (b pageSet) add(id uint64)      { b[id/64] |= 1 << (id % 64) }

// checkPages returns what is wrong with a bbolt file of length bytes: with all of
// it or, if it has one, with the list of its free pages. If it has none, the pages are
// those that are not in use: as long as no bucket is in another one, only leaves have
// not been read for that.
func checkPages(file io.ReaderAt, length int64, all bool) (p pages, err error) {
	if p, err = pagesOf(file, length); err != nil {
		return p, err
	}
	if p.high > uint64(length)/p.size {
		return p, fmt.Errorf("%w: it ends after %d bytes, and should have %d", ErrDamaged, length, p.high*p.size)
	}
	p.all, p.used, p.unread = all, make(pageSet, p.high/64+1), make(pageSet, p.high/64+1)
	if all || p.list == notListed {
		err = p.walk(p.root, nil, nil, 0, true)
	} else {
		err = p.first()
	}
	if err == nil {
		err = p.measure()
	}
	if err == nil && p.list != notListed {
		err = p.checkList()
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p, nil
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
				file: file, meta: b, size: size, root: binary.LittleEndian.Uint64(m[16:]),
				list: binary.LittleEndian.Uint64(m[32:]), high: binary.LittleEndian.Uint64(m[40:]), txid: txid,
			}
		}
	}
	if !found {
		return p, ErrForeign
	}
	return p, nil
}

// first checks the page of the buckets, without those that they lead to. It has small
// buckets in it, which bbolt copies: an element that leads out of such a copy is a pointer
// into the memory of this process, at which the garbage collector ends it.
func (p *pages) first() error {
	p.alone = true
	page, err := p.read(p.root)
	if err == nil && binary.LittleEndian.Uint16(page[8:]) != branchPage { // which has no buckets in it
		err = p.elements(page, nil, nil, 0, true)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", p.root, err)
	}
	return nil
}

// walk checks the page with this id and those under it. Their keys have to be
// from low on and below high, where these are given. It reads all leaves if whole.
func (p *pages) walk(id uint64, low, high []byte, depth int, whole bool) error {
	err := errDepth
	if depth <= deepestBranch {
		err = p.page(id, low, high, depth, whole)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (p *pages) page(id uint64, low, high []byte, depth int, whole bool) error {
	page, err := p.read(id)
	if err == nil {
		err = p.use(id, uint64(len(page))/p.size)
	}
	if err == nil {
		err = p.elements(page, low, high, depth, whole)
	}
	return err
}

// use notes that n pages from id on are in use.
func (p *pages) use(id, n uint64) error {
	if id < 2 || id+n > p.high {
		return errRange
	}
	for end := id + n; id < end; id++ {
		if p.used.has(id) {
			return fmt.Errorf("page %d is used twice", id)
		}
		p.used.add(id)
	}
	return nil
}

// read returns the page with this id, with the pages over which it continues.
func (p *pages) read(id uint64) ([]byte, error) {
	page := make([]byte, p.size)
	_, n, err := p.header(id, page)
	if err == nil && n > 1 {
		page = make([]byte, n*p.size)
		_, err = p.file.ReadAt(page, int64(id*p.size))
	}
	return page, err
}

// header reads the beginning of a page into b, and returns what kind it is of and how
// many pages it has, with itself.
func (p *pages) header(id uint64, b []byte) (kind uint16, n uint64, err error) {
	if id < 2 || id >= p.high {
		return 0, 0, errRange
	}
	if _, err := p.file.ReadAt(b, int64(id*p.size)); err != nil {
		return 0, 0, err
	}
	if got := binary.LittleEndian.Uint64(b); got != id {
		return 0, 0, fmt.Errorf("it says that it is page %d", got)
	}
	more := uint64(binary.LittleEndian.Uint32(b[12:]))
	if id+more >= p.high {
		return 0, 0, fmt.Errorf("it continues over %d pages, too many", more)
	}
	return binary.LittleEndian.Uint16(b[8:]), 1 + more, nil
}

// measure finds the pages over which the leaves continue that were not read. These are
// only looked for where the next page is not another one's.
func (p *pages) measure() error {
	for id := uint64(2); id+1 < p.high; id++ {
		if !p.unread.has(id) || p.used.has(id+1) {
			continue
		}
		kind, n, err := p.header(id, p.head[:])
		if err == nil && kind != leafPage {
			err = errType
		}
		if err == nil {
			err = p.use(id+1, n-1)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
	}
	return nil
}

var (
	errDepth   = errors.New("it lies too deep")
	errRange   = errors.New("it is out of range")
	errType    = errors.New("it is of the wrong type")
	errBounds  = errors.New("an element leads out of it")
	errOrder   = errors.New("its keys are out of order")
	errChild   = errors.New("a branch has no children")
	errBucket  = errors.New("a bucket is too short")
	errElement = errors.New("an element has unknown flags")
)

// elements checks what is in a page.
func (p *pages) elements(page, low, high []byte, depth int, whole bool) error {
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
	if !whole && flags == branchPage {
		// bbolt's trees are equally deep everywhere: of one kind are all children of a page.
		kind, _, err := p.header(children[0].id, p.head[:])
		if err != nil {
			return fmt.Errorf("page %d: %w", children[0].id, err)
		}
		if kind == leafPage {
			for _, c := range children {
				if err := p.use(c.id, 1); err != nil {
					return fmt.Errorf("page %d: %w", c.id, err)
				}
				p.unread.add(c.id)
			}
			return nil
		}
	}
	for i, c := range children {
		end := high
		if i+1 < len(children) {
			end = children[i+1].key
		}
		if err := p.walk(c.id, c.key, end, depth+1, whole); err != nil {
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
	if root := binary.LittleEndian.Uint64(value); root != 0 && p.alone {
		return nil
	} else if root != 0 {
		return p.walk(root, nil, nil, depth+1, p.all)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return errBucket
	}
	if depth++; depth > deepestBranch || binary.LittleEndian.Uint16(inline[8:]) != leafPage {
		return errType
	}
	return p.elements(inline, nil, nil, depth, true)
}
