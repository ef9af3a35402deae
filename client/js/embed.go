// Package js holds chime.js, the client of chime for browsers and Node, and
// phoenix-stream.js, a transport for the client of Phoenix, as a Router serves them.
package js

import "embed"

//go:embed chime.js src
var source embed.FS

// Module is chime.js: one ES module without dependencies, joined from those in src.
// It must not be modified.
var Module = join(source, "chime.js")

// Types is chime.d.ts, the TypeScript declarations of Module. It must not be modified.
//
//go:embed chime.d.ts
var Types []byte

// PhoenixStream is phoenix-stream.js: an ES module that imports Module from
// beside it. It must not be modified.
//
//go:embed phoenix-stream.js
var PhoenixStream []byte

// PhoenixStreamTypes is phoenix-stream.d.ts, the TypeScript declarations of
// PhoenixStream. It must not be modified.
//
//go:embed phoenix-stream.d.ts
var PhoenixStreamTypes []byte
