package channel

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Middleware returns a Channel that does something around what next does: it embeds
// next, and has the methods that it changes. It is called once, at set-up.
//
// HandleMember is next's, unless what it returns has a HandleMember of its own. That can
// call next's, if next is a MemberHandler.
type Middleware func(next Channel) Channel

// Use puts middlewares around a channel. As in chi the first one is outermost.
func Use(middlewares ...Middleware) Option { return use(middlewares) }

type use []Middleware

func (u use) apply(r *route) error {
	for _, m := range u {
		if m == nil {
			return errors.New("Use: a middleware is nil")
		}
	}
	r.around = append(r.around, u...)
	return nil
}

// wrap puts the middlewares of r around its channel.
func (r *route) wrap() error {
	r.member, _ = r.channel.(MemberHandler)
	for _, m := range slices.Backward(r.around) {
		next := r.channel
		if _, has := next.(MemberHandler); !has && r.member != nil {
			next = both{next, r.member}
		}
		if r.channel = m(next); r.channel == nil {
			return errors.New("Use: a middleware returned nil: want a channel")
		}
		if err := checkMethods(reflect.TypeOf(r.channel)); err != nil {
			return fmt.Errorf("%T.%w", r.channel, err)
		}
		if h, has := r.channel.(MemberHandler); has {
			r.member = h
		}
	}
	return nil
}

// both is a channel with the HandleMember of what it is around.
type both struct {
	Channel
	member MemberHandler
}

func (b both) HandleMember(ctx context.Context, s *Socket) { b.member.HandleMember(ctx, s) }
