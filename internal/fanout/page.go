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
	if m.state == behind && !t.feed.page(m) {
		return false
	}
	return m.pages()
}

// page sends a page of the history to m, which is behind. It reports false if m has
// left, or is about to, or if its own queue has no room: that has it paged again.
func (f *feed) page(m *Member) bool {
	if m.queue != m.pager.queue && !m.queue.Ready(func() { m.pager.add(due{m: m}) }) {
		return false // until then it costs no page
	}
	f.tail.expire(time.Now())
	if !f.tail.reaches(m.at) {
		ctx := m.owner.Context()
		entries, page, err := f.reader.page(ctx, m.at)
		switch {
		case m.state != behind, ctx.Err() != nil:
			return false
		case err != nil:
			f.members.fail(m, err)
		case f.tail.isBad(m.at):
			f.members.fail(m, ErrGap)
		case f.tail.reaches(m.at), page.Epoch == "": // by what was read, or it was so when another read had ended
		case page.Epoch != f.tail.epoch || !page.Complete:
			f.members.fail(m, ErrGap)
		case m.offer(entries):
			m.at = max(m.at, endOf(page))
		}
	}
	if m.state == behind && f.tail.reaches(m.at) {
		f.send(m, pageMessages)
	}
	return true
}

// send offers m what it has not had, at most n messages. It reports whether that
// was all: then m is live.
func (f *feed) send(m *Member, n int) bool {
	entries := f.tail.entries[f.tail.after(m.at):]
	if !m.offer(entries[:min(n, len(entries))]) || len(entries) > n {
		return false
	}
	return m.rise()
}
