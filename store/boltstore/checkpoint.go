package boltstore

// checkpoint adds to b what differs from the last one. It is called with plan
// held, and with all that was let in already in b: what it writes is the state
// after the last record of the log.
func (s *Store) checkpoint(b *batch) {
	for _, t := range s.gone {
		b.deletes = append(b.deletes, del{topicBucket, topicKey(t.id)})
	}
	for _, t := range s.touched {
		t.touched = false
		if t.dropped {
			continue
		}
		t.mu.Lock()
		b.topic(t)
		t.mu.Unlock()
	}
	s.touched, s.gone, s.since, s.must = nil, nil, 0, false
	s.meta.checkpoint = s.meta.seq
	m := s.meta
	b.meta = &m
}

func (b *batch) topic(t *topic) {
	key := topicKey(t.id)
	b.puts = append(b.puts, put{topicBucket, key, encodeTopic(key, t)})
	for _, bl := range t.changed {
		key := indexKey(t.id, bl.first)
		bl.dirty = false
		if bl.n == 0 { // all its messages were redacted
			b.deletes = append(b.deletes, del{indexBucket, key})
			continue
		}
		b.puts = append(b.puts, put{indexBucket, key, encodeBlock(key, bl)})
		b.stored = append(b.stored, stored{t, bl})
	}
	t.changed = nil
}
