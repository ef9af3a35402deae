package boltstore

import (
	"fmt"
	"log/slog"

	bolt "go.etcd.io/bbolt"

	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore/internal/disk"
	"github.com/go-chime/chime/store/boltstore/internal/tree"
	"github.com/go-chime/chime/store/internal/eviction"
)

const (
	// Unbounded is for [Options].
	Unbounded = -1

	defaultMaxBytes  = 8 << 30
	defaultMaxTopics = 1_000_000

	surveyTopics = 1_024 // that are looked at between two commits
)

// bounds keeps a file within its bounds: it says what is refused, and has topics go
// before that is needed. It belongs to the committer.
type bounds struct {
	bytes, topics int64 // zero or less: none
	log           *slog.Logger

	used   int64 // bytes of the file that are in use, or will be until what reads has ended
	free   int64 // of these, those that become free then
	known  int64 // topics
	survey *tree.Survey
	again  int64 // when the next survey makes sense, Unix nanoseconds
}

// see takes what the last commit has left.
func (b *bounds) see(f *disk.File, known uint64) error {
	return f.View(func(tx *bolt.Tx) error {
		free, pending := f.Free()
		b.used, b.free, b.known = tx.Size()-free, pending, int64(known)
		return nil
	})
}

// now returns what holds for the next commit.
func (b *bounds) now() tree.Bounds {
	return tree.Bounds{
		Topics: uint64(max(b.topics, 0)), TopicBytes: uint64(max(b.bytes/eviction.Share, 0)),
		Full: b.bytes > 0 && b.used >= b.bytes,
	}
}

// trouble returns what is refused now; nil: nothing.
func (b *bounds) trouble() error {
	switch {
	case b.bytes > 0 && b.used >= b.bytes:
		return fmt.Errorf("%w: its file has %d bytes in use, and at most %d are allowed", store.ErrFull, b.used, b.bytes)
	case b.topics > 0 && b.known >= b.topics:
		return fmt.Errorf("%w: %d topics are known, and at most %d are allowed", store.ErrFull, b.known, b.topics)
	}
	return nil
}

// begin begins a survey if room has to be made, unless what went before is still being
// deleted.
func (b *bounds) begin(deleting bool, now int64) {
	if b.survey != nil || deleting || now < b.again {
		return
	}
	if need := eviction.Need(b.used-b.free, b.bytes); need > 0 {
		b.survey = tree.NewSurvey(true, need)
	} else if need := eviction.Need(b.known, b.topics); need > 0 {
		b.survey = tree.NewSurvey(false, need)
	}
}

// looking reports whether a survey goes on, and evicting whether topics are to go.
func (b *bounds) looking() bool  { return b.survey != nil && !b.survey.Done() }
func (b *bounds) evicting() bool { return b.survey != nil && b.survey.Done() }

// look goes on with the survey, between two commits.
func (b *bounds) look(f *disk.File, now int64) {
	if !b.looking() {
		return
	}
	if err := f.View(func(tx *bolt.Tx) error { b.survey.Look(tx, now, surveyTopics); return nil }); err != nil {
		b.log.Warn("history could not be looked at", "file", f.Path(), "error", err)
		b.survey, b.again = nil, now+int64(eviction.Settled)
	}
}

// evict has topics go in the transaction of p.
func (b *bounds) evict(p *tree.Plan, most int, now int64) {
	if !b.evicting() || !b.survey.Evict(p, most) {
		return
	}
	n, group := b.survey.Went()
	if b.survey = nil; n == 0 {
		b.again = now + int64(eviction.Settled) // there is nothing that may go
		return
	}
	b.log.Warn("history comes to its bounds: topics go", "topics", n, "group", group)
}
