// Package chime lets a chi app talk with its pages. A client joins topics over
// a WebSocket or, where a proxy blocks that, over an event stream with POSTs or by
// long-polling; the application writes channels and never sees the difference.
//
//	live := chime.NewRouter(chime.WithConnect(authenticate), chime.WithStore(store.NewMemory()))
//	live.Channel("chat_room:{id}", &ChatRoom{}, channel.History{Keep: 1000, Replay: 50})
//	r.Mount("/socket", live) // any path, behind any middleware, also without chi
//
// What a channel is, and what is promised to it, is in package channel; what a
// client speaks, in docs/protocol.md. The browser's half is served by the
// Router itself, at chime.js below the mount.
package chime
