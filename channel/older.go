package channel

import (
	"context"
	"fmt"

	"github.com/go-chime/chime/store"
)

// HistoryBefore returns up to n of the messages before a position, the oldest first. The
// zero position is behind the newest. To read on, give the offset of the first message with
// the epoch of its page; the epoch "" is whichever there is.
//
// Before a position of another epoch, whose offsets mean nothing here, there are no
// messages, and the page is not complete.
func (h *Hub) HistoryBefore(ctx context.Context, topic string, before store.Position, n int) (store.Page, error) {
	if _, err := h.routes.keeping(topic); err != nil {
		return store.Page{}, err
	}
	if n <= 0 {
		return store.Page{}, fmt.Errorf("history of %q: %d messages: want at least 1", topic, n)
	}
	page, err := h.history.Read(ctx, topic, store.Range{Newest: true, Before: before.Offset, Limit: n})
	if err != nil {
		return store.Page{}, fmt.Errorf("history of %q: %w", topic, err)
	}
	return ofEpoch(page, before), nil
}

// ofEpoch is a page that was read before a position, or none if that is of another epoch.
// The epoch is compared with that of the page: it may have changed meanwhile.
func ofEpoch(page store.Page, before store.Position) store.Page {
	if before.Offset == 0 || before.Epoch == "" || before.Epoch == page.Epoch {
		return page
	}
	return store.Page{Epoch: page.Epoch, Top: page.Top}
}
