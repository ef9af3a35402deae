package chime

import (
	"context"

	"github.com/go-chime/chime/channel"
)

// Draft begins a message that grows in a topic, has write write it in a goroutine of its
// own, and returns its ID. Members watch it grow, and those who join meanwhile are sent
// what there is of it. When write returns the whole is one message with the event: it is
// retained if the channel has a History, and its payload is the one given, an object, with
// "draft", the ID, and "text". The context of write has the values of ctx, and ends with
// StopDraft and Shutdown. Ctx bounds the wait for the broker. The error is
// channel.ErrNoChannel if no pattern matches the topic, channel.ErrDraftFull if there are
// too many drafts, or says what is wrong with the event or payload.
func (rt *Router) Draft(ctx context.Context, topic, event string, payload any, write channel.DraftFunc) (id string, err error) {
	return rt.hub.Draft(ctx, topic, event, payload, write)
}

// StopDraft stops a draft of a topic, whichever node writes it: the context of its
// channel.DraftFunc ends, and its text takes no more. Unless that returns an error of
// channel.Refuse, what there is becomes the message. The error is channel.ErrNoDraft if there
// is no such draft; another one names the nodes that did not answer. Ctx bounds the wait for
// them.
func (rt *Router) StopDraft(ctx context.Context, topic, id string) error {
	return rt.hub.StopDraft(ctx, topic, id)
}
