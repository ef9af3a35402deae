package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"time"
)

// page is the client of the chat: three files, no build, nothing from elsewhere.
//
//go:embed page
var pageFiles embed.FS

// pageFile serves one file of the page. The files change with the program only,
// so browsers revalidate them each time, which the ETag makes cheap.
func pageFile(name string) http.HandlerFunc {
	data, err := pageFiles.ReadFile(path.Join("page", name))
	if err != nil {
		panic("chime: " + err.Error())
	}
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" {
		kind = "text/javascript; charset=utf-8" // a system's own table may differ, and a module needs this
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	}
}

// securityHeaders closes what the page does not use. Everything comes from here,
// and nothing is inline, so a message that slipped through as HTML could not run.
func securityHeaders(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// Not no-referrer: under that browsers send "Origin: null" with some
		// requests of our own page, a goodbye beacon among them.
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
