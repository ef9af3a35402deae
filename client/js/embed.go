// Package js holds chime.js, the client of chime for browsers and Node, as it is served by a Router.
package js

import _ "embed"

// Module is chime.js: one ES module without dependencies. It must not be modified.
//
//go:embed chime.js
var Module []byte

// Types is chime.d.ts, the TypeScript declarations of Module. It must not be modified.
//
//go:embed chime.d.ts
var Types []byte
