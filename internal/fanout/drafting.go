package fanout

// BeginDraft shows d to the members. EndDraft must be called for it before the topic is closed.
func (t *Topic) BeginDraft(d *Draft) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drafts.begin(d)
}

// GrowDraft shows the members what was appended to d. As with Published no client can delay
// it. One call for d at a time.
func (t *Topic) GrowDraft(d *Draft) {
	t.mu.Lock()
	more := d.more()
	if len(more) == 0 { // it may have ended meanwhile
		t.mu.Unlock()
		return
	}
	round := t.lead.step(t.drafts.grow(d, more).Size())
	t.mu.Unlock()
	pause(round)
}

// EndDraft takes d out, to which nothing is appended any more, and returns its whole text. Who
// joins from now on is shown nothing of it. With a reason the members are told that it is
// over; without one a message follows that replaces it. A second call with a reason tells
// those who wait for that message that there will be none.
func (t *Topic) EndDraft(d *Draft, reason string) (text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.text = append(d.text, d.more()...)
	t.drafts.end(d, reason)
	return d.text
}

// AwaitMessage returns when the message of a draft that has ended was announced here. It is
// ephemeral, and so it may not come: then members are told after a second that the draft is over.
// There must be other nodes.
func (t *Topic) AwaitMessage(d *Draft) { t.copies.awaitMessage(d) }

// Hear takes a piece of a draft that another node writes, and shows the members what they
// have not been shown. Pieces may come twice, in any order, or not at all. If something is
// missing its owner is to be told from where. As with Published no client can delay it.
func (t *Topic) Hear(p Piece) (from int, missing bool) {
	t.mu.Lock()
	shown, from, missing := t.copies.hear(p)
	var round <-chan struct{}
	if shown != nil {
		round = t.lead.step(shown.Size())
	}
	t.mu.Unlock()
	pause(round)
	return from, missing
}

// HearEnd takes the end of a draft that another node has written.
func (t *Topic) HearEnd(id string, o Over) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.copies.hearEnd(id, o)
}
