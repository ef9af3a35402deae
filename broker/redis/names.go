package redis

import (
	"hash/fnv"
	"strings"
)

// names are those of keys and channels. All of one topic have its name in braces, so that a
// Redis Cluster has them on one node.
type names struct{ prefix string }

// A topic may be any text: braces of its own would end the part that decides on the node.
var escape = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")

// topic is what all names of a topic begin with.
func (n names) topic(topic string) string {
	if topic == "" {
		return n.prefix + ":{%}:" // {} would be no such part
	}
	return n.prefix + ":{" + escape.Replace(topic) + "}:"
}

// keys are those of the scripts of a topic, in the order of script/topic.lua.
func (n names) keys(topic string) []string {
	begin := n.topic(topic)
	return []string{begin + "stream", begin + "topic", begin + "keys", begin + "redacted", begin + "again"}
}

func (n names) channel(topic string) string { return n.topic(topic) + "announced" }

// present is who is present in a topic.
func (n names) present(topic string) string { return n.topic(topic) + "present" }

func (n names) settings() string { return n.prefix + ":settings" }

// health is written by whoever asks whether that is possible.
func (n names) health() string { return n.prefix + ":health" }

// nodes are those that are up.
func (n names) nodes() string { return n.prefix + ":nodes" }

// node is the channel of one.
func (n names) node(id string) string { return n.prefix + ":node:" + id }

// beats is the channel on which a node hears itself, if it hears anything.
func (n names) beats(id string) string { return n.prefix + ":beats:" + id }

// topics are those in which somebody is present on a node.
func (n names) topics(id string) string { return n.prefix + ":present:" + id }

// burial is held by the node that says who has left with another.
func (n names) burial(id string) string { return n.prefix + ":burial:" + id }

func hash(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return h.Sum32()
}
