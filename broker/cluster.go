package broker

import (
	"context"

	"github.com/go-chime/chime/store"
)

// Cluster is a Broker whose nodes know each other. With a Broker that is none, each node
// answers for its own clients only.
type Cluster interface {
	Broker

	// StartCluster says what this node is, and names what answers the requests of others,
	// which is called by several goroutines at once and with a context that ends when the
	// time is over that the one who asks has, if not before. It is called once, after Start and
	// before StartPresence.
	StartCluster(self Node, answer func(ctx context.Context, request []byte) ([]byte, error))

	// Nodes returns the nodes that are up, in any order, and this one among them. One that
	// is gone without a word is named for up to 15 s.
	Nodes(ctx context.Context) ([]Node, error)

	// Ask sends a request to all other nodes that are up, and returns what each answers
	// when all have, or when ctx ends; a broker may set a limit of its own if ctx has none. A
	// node that did not answer has its error in its Answer. The error of Ask is for when it is
	// not known which nodes there are.
	Ask(ctx context.Context, request []byte) ([]Answer, error)
}

// Node is one process of an application.
type Node struct {
	// ID is unique among all nodes and across their restarts: 8 characters of base64url.
	ID string
	// Name is for people, and may be that of another node: the name of the host, mostly.
	Name string
	// URL is where other nodes reach the server of this one, without a path, as in
	// "http://10.0.0.7:4000": they ask for the path that the client has asked for. "" if they
	// can't.
	URL string
	// Key is for the nodes alone: by it one proves to this node that a request comes from a node.
	// It is random, and no page and no log has it.
	Key string
}

// Answer is what a node answers.
type Answer struct {
	Node Node
	Body []byte
	Err  error // of the node, or ctx's if it has not answered
}

// Tops is a History that looks at many topics at one time. The node looks so for
// announcements that are missing, also when nothing says that any may be. A top that is
// before what was announced is believed when it is still there a second later: who answers
// may be a replica.
type Tops interface {
	History
	// Tops returns for each topic the position behind its last message, as a page of Read
	// has it in Epoch and Top.
	Tops(ctx context.Context, topics []string) ([]store.Position, error)
}
