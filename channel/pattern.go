package channel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-chime/chime/internal/wire"
)

// pattern says which topics a channel serves. It is a list of segments between
// colons: a literal, {name} for one non-empty segment, or at the end a * for
// any non-empty rest, possibly after a literal beginning.
type pattern struct {
	text     string
	segments []segment
}

type segment struct {
	kind kind
	text string // the literal, the name, or what stands before the *
}

// kind orders segments: the greater is the more specific.
type kind int

const (
	rest kind = iota
	param
	literal
)

var errWhole = errors.New("want {name} as a whole segment, and * at the end only")

func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if !wire.ValidName(text) {
		return p, fmt.Errorf("want 1 to %d bytes of UTF-8 without control characters", wire.MaxName)
	}
	if !wire.Counted(text) {
		return p, errors.New("want another topic than chime and phoenix, which are the protocol's")
	}
	if strings.HasPrefix(text, "/") && strings.ContainsAny(text, "{*") {
		return p, fmt.Errorf("it is a path: want the parts of a topic between colons: %s", strings.ReplaceAll(strings.Trim(text, "/"), "/", ":"))
	}
	parts := strings.Split(text, ":")
	for i, part := range parts {
		last := i == len(parts)-1
		inner, braced := strings.CutPrefix(part, "{")
		switch {
		case braced:
			name, closed := strings.CutSuffix(inner, "}")
			switch {
			case !closed && i < len(parts)-1 && strings.HasSuffix(text, "}"):
				return p, fmt.Errorf("%s: a {name} has no rule, as it has in chi: want {%s}, and HandleJoined to refuse what does not fit", text[strings.Index(text, part):], inner)
			case !closed && strings.Contains(inner, "}"):
				return p, errWhole
			case !closed:
				return p, errors.New("unclosed {: want {name}")
			}
			if name == "" || strings.ContainsAny(name, "{}*") {
				return p, fmt.Errorf("%s: want a name between the braces", part)
			}
			p.segments = append(p.segments, segment{param, name})
		case strings.HasSuffix(part, "*") && last:
			p.segments = append(p.segments, segment{rest, strings.TrimSuffix(part, "*")})
		default:
			p.segments = append(p.segments, segment{literal, part})
		}
		if s := p.segments[i]; s.kind != param && strings.ContainsAny(s.text, "{}*") {
			return p, errWhole
		}
	}
	for i, s := range p.segments {
		if s.kind == param && slices.Contains(p.segments[:i], s) {
			return p, fmt.Errorf("{%s} twice: want each name once", s.text)
		}
	}
	return p, nil
}

// match reports whether topic is one of those that p says. It is called for each
// broadcast, and allocates nothing.
func (p pattern) match(topic string) bool {
	for i, s := range p.segments {
		if s.kind == rest {
			tail, ok := strings.CutPrefix(topic, s.text)
			return ok && tail != ""
		}
		part, after, more := strings.Cut(topic, ":")
		if more != (i < len(p.segments)-1) || s.kind == param && part == "" || s.kind == literal && part != s.text {
			return false
		}
		topic = after
	}
	return true
}

// params returns the parameters of a topic that matches, in the order of the pattern.
func (p pattern) params(topic string) []string {
	var params []string
	for _, s := range p.segments {
		if s.kind == rest {
			return append(params, topic[len(s.text):])
		}
		part, after, _ := strings.Cut(topic, ":")
		if s.kind == param {
			params = append(params, part)
		}
		topic = after
	}
	return params
}

// names returns what the parameters are called; the rest is "*".
func (p pattern) names() []string {
	var names []string
	for _, s := range p.segments {
		switch s.kind {
		case param:
			names = append(names, s.text)
		case rest:
			names = append(names, "*")
		}
	}
	return names
}

// compare orders patterns so that of two which match a topic the more specific
// comes first. It is 0 for patterns that match the same topics.
func (p pattern) compare(q pattern) int {
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i], q.segments[i]
		if a.kind != b.kind {
			return cmp.Compare(b.kind, a.kind)
		}
		if a.kind == param {
			continue
		}
		if c := cmp.Compare(len(b.text), len(a.text)); c != 0 {
			return c
		}
		if c := cmp.Compare(a.text, b.text); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(q.segments), len(p.segments))
}

// like is a topic that p matches, with what another topic has in its places.
func (p pattern) like(topic string) string {
	theirs := strings.Split(topic, ":")
	var parts []string
	for i, s := range p.segments {
		switch {
		case s.kind == literal || i >= len(theirs):
			parts = append(parts, s.text)
		case s.kind == param:
			parts = append(parts, theirs[i])
		default:
			parts = append(parts, s.text+strings.TrimPrefix(strings.Join(theirs[i:], ":"), s.text))
		}
	}
	return strings.Join(parts, ":")
}
