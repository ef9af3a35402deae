package store

// Topics returns how many topics s remembers.
func Topics(s *Memory) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.topics)
}

// Room returns for how many messages s holds memory.
func Room(s *Memory) (messages int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.order {
		t.mu.Lock()
		messages += len(t.messages.buf)
		t.mu.Unlock()
	}
	return messages
}

// Count counts what s has, one by one.
func Count(s *Memory) (n Stats) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.order {
		t.mu.Lock()
		n.Topics++
		n.Bytes += int64(topicBytes + len(t.name))
		for i := range t.messages.n {
			n.Bytes += bytesOf(t.messages.at(i))
		}
		t.mu.Unlock()
	}
	return n
}
