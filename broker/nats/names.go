package nats

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
)

// names are those of streams and subjects. Topics and what is in them can be any text, so
// a subject has the topic in base64url, of which each character is legal.
type names struct{ prefix string }

// stream is the n-th stream.
func (n names) stream(i int) string { return fmt.Sprintf("%s-%d", n.prefix, i) }

// log and say begin the subjects of what is stored in a stream, and of what is announced.
// Both have the epoch: who has not heard of a stream that was made anew, in place of one that
// was deleted, is answered by nobody.
func (n names) log(i int, epoch string) string {
	return fmt.Sprintf("%s.log.%d.%s.", n.prefix, i, epoch)
}
func (n names) say(i int, epoch string) string {
	return fmt.Sprintf("%s.say.%d.%s.", n.prefix, i, epoch)
}

// Of nodes among each other.
func (n names) alive() string                 { return n.prefix + ".node.alive" }
func (n names) ask(instance string) string    { return n.prefix + ".node.ask." + instance }
func (n names) whos() string                  { return n.prefix + ".who." }
func (n names) who(topic string) string       { return n.whos() + token(topic) }
func (n names) list() string                  { return n.prefix + ".node.list" }
func (n names) listOf(instance string) string { return n.prefix + ".node.list." + instance }

// token is a topic as part of a subject. One that is empty has a character too.
func token(topic string) string { return "t" + base64.RawURLEncoding.EncodeToString([]byte(topic)) }

// untoken is the topic of a token.
func untoken(s string) (string, bool) {
	if s == "" || s[0] != 't' {
		return "", false
	}
	topic, err := base64.RawURLEncoding.DecodeString(s[1:])
	return string(topic), err == nil
}

// spread returns which of n streams a topic is in.
func spread(topic string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(topic))
	return int(h.Sum32() % uint32(n)) //nolint:gosec // n is at most 64
}
