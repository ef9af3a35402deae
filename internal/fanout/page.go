package fanout

import "time"

// page sends m the picture, if it is to have that, and one page of the history. It
// reports whether more is to be sent. Of a crowd at one place one member reads the
// history, and the others find it in the tail.
func (t *Topic) page(m *Member) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.sight == stale {
		t.sendPicture(m)
	}
	if m.state == behind && !t.sendPage(m) {
		return false
	}
	return m.pages()
}

// sendPage sends a page of the history to m, which is behind. It reports false if m has
// left, or is about to, or if its own queue has no room: that has it paged again.
func (t *Topic) sendPage(m *Member) bool {
	if m.queue != m.pager.queue && !m.queue.Ready(func() { m.pager.add(due{m: m}) }) {
		return false // until then it costs no page
	}
	t.tail.expire(time.Now())
	if !t.tail.reaches(m.at) {
		ctx := m.owner.Context()
		entries, page, err := t.reader.page(ctx, m.at)
		switch {
		case m.state != behind, ctx.Err() != nil:
			return false
		case err != nil:
			t.members.fail(m, err)
		case t.tail.reaches(m.at), page.Epoch == "": // by what was read, or it was so when another read had ended
		case page.Epoch != t.tail.epoch || !page.Complete:
			t.members.fail(m, ErrGap)
		case m.offer(entries):
			m.at = max(m.at, endOf(page))
		}
	}
	if m.state == behind && t.tail.reaches(m.at) {
		t.send(m, pageMessages)
	}
	return true
}

// send offers m what it has not had, at most n messages. It reports whether that
// was all: then m is live. t.mu is held.
func (t *Topic) send(m *Member, n int) bool {
	entries := t.tail.entries[t.tail.after(m.at):]
	if !m.offer(entries[:min(n, len(entries))]) || len(entries) > n {
		return false
	}
	return m.rise()
}
