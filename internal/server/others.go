package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/go-chime/chime/internal/clientsocket"
)

// Elsewhere sends requests to other nodes, which are named by their IDs.
type Elsewhere interface {
	// Serve has a node answer r, and reports whether it, or the attempt, did. If not,
	// nothing was written, and the body may be closed.
	Serve(w http.ResponseWriter, r *http.Request, node string) bool
	// Post sends a POST like r with another body to a node, and returns the answer.
	Post(ctx context.Context, r *http.Request, node string, body []byte) ([]byte, error)
}

// others are the client sockets of other nodes, of which this one knows no more than what
// their secrets begin with.
type others struct {
	node      string // the ID of this one; "": there are no others
	elsewhere Elsewhere
	registry  *clientsocket.Registry
}

// owner returns which other node has made a secret, or the name of a client that polls, or
// "" for none.
func (o *others) owner(secret string) string {
	n := len(o.node)
	if n == 0 || len(secret) <= n || secret[:n] == o.node {
		return ""
	}
	return secret[:n]
}

// serve has the node answer r that has the client socket of a secret, and reports whether
// it did. If not, the client socket is one of this node, or nobody's. The origin has been
// checked.
func (o *others) serve(w http.ResponseWriter, r *http.Request, secret string) bool {
	node := o.owner(secret)
	return node != "" && o.registry.Find(secret) == nil && o.elsewhere.Serve(w, r, node)
}

// serveRead is serve for a request whose body was read. What sends it may not be done with
// it when the request is over.
func (o *others) serveRead(w http.ResponseWriter, r *http.Request, secret string, data []byte) bool {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(bytes.Clone(data))), int64(len(data))
	return o.serve(w, r, secret)
}

// wait waits on a node for some of its clients that poll, as r does on this one, and returns
// which are due. Of a node that can't be asked all are: they find out by polling.
func (o *others) wait(ctx context.Context, r *http.Request, node string, names []string) []string {
	type list struct {
		IDs []string `json:"ids"`
	}
	body, _ := json.Marshal(list{names}) // has no error
	answered, err := o.elsewhere.Post(ctx, r, node, body)
	var due list
	if err == nil {
		err = json.Unmarshal(answered, &due)
	}
	if err != nil {
		return names
	}
	return due.IDs
}
