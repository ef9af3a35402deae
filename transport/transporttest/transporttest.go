// Package transporttest has networks in which live connections go wrong, for tests:
// proxies that know no upgrade, hold back streams, repeat POSTs, cut what is young or
// old, and so on. Each is a box in this process between clients and a server:
//
//	for _, network := range transporttest.Networks() {
//		t.Run(network.Name, func(t *testing.T) {
//			box := network.Start(server.URL)
//			defer box.Close()
//			// clients connect to box.URL
//		})
//	}
//
// A box does what its network says, to every client alike, and no more than that: what
// passes is as the server wrote it. It is no model of a product; docs/networks.md names
// products that do so.
package transporttest

import (
	"slices"
	"time"

	"github.com/go-chime/chime/transport"
)

// Network is a kind of box between clients and a server. The methods may be called by
// several goroutines at once.
type Network struct {
	Name string // without spaces
	Does string // what becomes of what passes, in one sentence

	// Passes are the transports on which a client of the chime dialect gets through and
	// stays, in the order in which chime.js prefers them; nil is none. Where connections
	// end now and then all the same, Does says so.
	Passes []string

	// Lasts is how long a connection on one of these works at most, however much it
	// carries; 0 is for ever.
	Lasts time.Duration

	factor  time.Duration // by which times are shorter; 0 is 1
	conduct func(Network) conduct
}

// Faster returns a network like n all of whose times are shorter by a factor, such as
// 10, for clients whose own times are shortened.
func (n Network) Faster(factor int) Network {
	n.factor = max(n.factor, 1) * time.Duration(factor)
	n.Lasts /= time.Duration(factor)
	return n
}

// after is a time of the network.
func (n Network) after(d time.Duration) time.Duration { return d / max(n.factor, 1) }

// Named returns the network with a name.
func Named(name string) (n Network, known bool) {
	all := Networks()
	at := slices.IndexFunc(all, func(n Network) bool { return n.Name == name })
	if at < 0 {
		return Network{}, false
	}
	return all[at], true
}

var (
	any3      = []string{transport.WebSocket, transport.SSE, transport.LongPoll}
	noSockets = []string{transport.SSE, transport.LongPoll}
	pollsOnly = []string{transport.LongPoll}
)

// Networks returns all networks, those that refuse WebSockets first.
func Networks() []Network {
	return slices.Clone(networks)
}

var networks = []Network{
	{
		Name: "drops-upgrade", Passes: noSockets,
		Does:    "Forwards the request for a WebSocket without its Upgrade header, as a proxy that knows no upgrades does.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade)} },
	},
	{
		Name: "refuses-upgrade", Passes: noSockets,
		Does:    "Answers a request for a WebSocket itself: with 407, with 403 and with 200 and a page, in turn.",
		conduct: func(Network) conduct { return conduct{carry: through(refusedUpgrade())} },
	},
	{
		Name: "deaf-websocket", Passes: noSockets,
		Does:    "Lets a WebSocket open, and passes on nothing of what the server sends on it.",
		conduct: func(Network) conduct { return conduct{carry: through(deafWebSocket)} },
	},
	{
		Name: "mute-websocket", Passes: noSockets,
		Does:    "Lets a WebSocket open, and passes on nothing of what the client sends on it.",
		conduct: func(Network) conduct { return conduct{carry: through(muteWebSocket)} },
	},
	{
		Name: "cuts-young-websocket", Passes: noSockets,
		Does: "Cuts each WebSocket 100 to 500 ms after it has opened.",
		conduct: func(n Network) conduct {
			return conduct{carry: through(youngWebSocket(n.after(100*time.Millisecond), n.after(500*time.Millisecond)))}
		},
	},
	{
		Name: "holds-blocks", Passes: pollsOnly,
		Does:    "Passes on answers in whole blocks of 4 KiB, and what is left at their end; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, bodies(inBlocks))} },
	},
	{
		Name: "holds-to-end", Passes: pollsOnly,
		Does:    "Passes on an answer, header and all, once it has ended; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, whole)} },
	},
	{
		Name: "holds-first-chunk", Passes: noSockets,
		Does:    "Holds back what comes of an answer in its first 50 ms until more comes, and is deaf on WebSockets.",
		conduct: func(Network) conduct { return conduct{carry: through(deafWebSocket, bodies(firstWithSecond))} },
	},
	{
		Name: "holds-after-first", Passes: pollsOnly,
		Does:    "Passes on what comes of an answer in its first 50 ms, and the rest once it has ended; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, bodies(firstThenRest))} },
	},
	{
		Name: "delays-streams", Passes: pollsOnly,
		Does: "Passes on each part of an event stream 20 s after it has come; knows no upgrades.",
		conduct: func(n Network) conduct {
			return conduct{carry: through(withoutUpgrade, streams(late(n.after(20*time.Second))))}
		},
	},
	{
		Name: "gzips", Passes: pollsOnly,
		Does:    "Compresses answers to those that accept gzip, whatever they say, without flushing; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, gzipped)} },
	},
	{
		Name: "cuts-by-time", Passes: any3, Lasts: time.Minute,
		Does: "Cuts WebSockets and answers on which nothing has come for 30 s, and all of them after 60 s.",
		conduct: func(n Network) conduct {
			return conduct{carry: through(leased(n.after(30*time.Second), n.Lasts))}
		},
	},
	{
		Name: "repeats-posts", Passes: noSockets,
		Does:    "Forwards each POST twice, and passes on the second answer; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, repeatedPosts)} },
	},
	{
		Name: "loses-answers", Passes: noSockets,
		Does:    "Answers every other POST with 502 after it was forwarded, beginning with the first; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade, unansweredPosts())} },
	},
	{
		Name: "reorders-posts", Passes: noSockets,
		Does: "Holds back each POST for up to 200 ms, and forwards it behind the next one if that comes meanwhile; knows no upgrades.",
		conduct: func(n Network) conduct {
			return conduct{carry: through(withoutUpgrade, reorderedPosts(n.after(200*time.Millisecond)))}
		},
	},
	{
		Name: "http-1.0", Passes: noSockets,
		Does:    "Answers in HTTP/1.0, without chunks: the end of a connection is that of an answer; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade), http10: true} },
	},
	{
		Name: "six-connections", Passes: noSockets,
		Does:    "Has room for 6 connections, and lets others wait, as a browser does on HTTP/1.1; knows no upgrades.",
		conduct: func(Network) conduct { return conduct{carry: through(withoutUpgrade), room: 6} },
	},
	{
		Name: "half-open", Passes: any3, Lasts: 30 * time.Second,
		Does:    "Drops what is sent on a connection, either way, from 30 s after it was opened on, and tells nobody.",
		conduct: func(n Network) conduct { return conduct{silent: n.Lasts} },
	},
	{
		Name: "strips-headers", Passes: []string{transport.WebSocket},
		Does:    "Removes from requests the headers that no standard knows, and Last-Event-ID.",
		conduct: func(Network) conduct { return conduct{carry: through(standardHeaders)} },
	},
	{
		Name: "limits-headers", Passes: any3,
		Does:    "Answers requests whose header is longer than 8 KiB with 400.",
		conduct: func(Network) conduct { return conduct{carry: through(shortHeaders(8 << 10))} },
	},
	{
		Name: "resets-http2", Passes: noSockets, Lasts: 16 * time.Second,
		Does: "Speaks HTTP/2 behind TLS, and resets each answer 16 s after it has begun; knows no upgrades.",
		conduct: func(n Network) conduct {
			return conduct{carry: through(withoutUpgrade, leased(0, n.Lasts)), tls: true}
		},
	},
	{
		Name: "service-worker", Passes: []string{transport.WebSocket, transport.LongPoll},
		Does:    "Answers with a response of its own, made of the status, the type and the whole body, and with 503 and a page where there is none; WebSockets pass by it.",
		conduct: func(Network) conduct { return conduct{carry: through(ownAnswers)} },
	},
	{
		Name:    "local-network",
		Does:    "Refuses preflights, and closes the connections of all other requests without an answer, as a browser that denies a page the local network.",
		conduct: func(Network) conduct { return conduct{carry: through(denied)} },
	},
}
