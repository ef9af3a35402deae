package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chime/chime/internal/need"
)

// browser is a headless Chromium, driven over WebDriver (W3C), with an empty
// profile of its own.
type browser struct {
	session string // URL of the WebDriver session
	http    *http.Client
	current string // handle of the window that commands go to
	pages   int
}

// page is one window of a browser.
type page struct {
	*browser
	handle string
}

// The flags that make Chromium run as root in a container and talk to nobody
// but the page's own server.
var chromiumFlags = []string{
	"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
	"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
}

// browse starts Chromium, with more flags; the test's end ends it.
func browse(t testing.TB, flags ...string) *browser {
	t.Helper()
	chromium := need.Program(t, "chromium", "chromium-browser", "google-chrome")
	driver := need.Program(t, "chromedriver")

	profile := t.TempDir() // before start: what is set up first is taken down last
	d := start(t, exec.Command(driver, "--port=0"))
	port := d.line(t, regexp.MustCompile(`started successfully on port (\d+)`))[1]
	b := &browser{session: "http://127.0.0.1:" + port + "/session", http: &http.Client{Timeout: patience}}
	t.Cleanup(b.http.CloseIdleConnections)

	var session struct {
		SessionID string `json:"sessionId"`
	}
	b.must(t, http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome",
		"goog:chromeOptions": map[string]any{
			"binary": chromium,
			"args":   slices.Concat(chromiumFlags, flags, []string{"--user-data-dir=" + profile}),
		},
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
	}}}, &session)
	b.session += "/" + session.SessionID
	t.Cleanup(func() {
		// Ends Chromium; the driver itself is killed by start's cleanup.
		if err := b.do(http.MethodDelete, "", nil, nil); err != nil {
			t.Logf("end Chromium: %v", err)
		}
	})
	return b
}

// do is one WebDriver command.
func (b *browser) do(method, path string, body, into any) error {
	var in io.Reader
	if method == http.MethodPost {
		if body == nil {
			body = struct{}{}
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	// Not the test's context: cleanups speak to the browser after it ended.
	req, err := http.NewRequest(method, b.session+path, in)
	if err != nil {
		return err
	}
	res, err := b.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, path, res.Status, err)
	}
	if res.StatusCode != http.StatusOK {
		var fault struct{ Error, Message string }
		if err := json.Unmarshal(answer.Value, &fault); err != nil {
			return fmt.Errorf("%s %s: %s", method, path, answer.Value)
		}
		first, _, _ := strings.Cut(fault.Message, "\n")
		return errors.New(fault.Error + ": " + first)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, into)
}

func (b *browser) must(t testing.TB, method, path string, body, into any) {
	t.Helper()
	if err := b.do(method, path, body, into); err != nil {
		t.Fatalf("WebDriver %s %s: %v", method, path, err)
	}
}

// open loads url in a window of its own. A window, not a tab: Chromium slows
// the timers of a tab that is not in front.
func (b *browser) open(t testing.TB, url string) *page {
	t.Helper()
	var handle string
	if b.pages == 0 {
		b.must(t, http.MethodGet, "/window", nil, &handle)
		b.current = handle
	} else {
		var window struct{ Handle string }
		b.must(t, http.MethodPost, "/window/new", map[string]string{"type": "window"}, &window)
		handle = window.Handle
	}
	b.pages++
	p := &page{b, handle}
	p.load(t, url)
	return p
}

// front points the session's commands at p.
func (p *page) front(t testing.TB) {
	t.Helper()
	if p.current != p.handle {
		p.must(t, http.MethodPost, "/window", map[string]string{"handle": p.handle}, nil)
		p.current = p.handle
	}
}

func (p *page) load(t testing.TB, url string) {
	t.Helper()
	p.front(t)
	p.must(t, http.MethodPost, "/url", map[string]string{"url": url}, nil)
}

func (p *page) close(t testing.TB) {
	t.Helper()
	p.front(t)
	p.must(t, http.MethodDelete, "/window", nil, nil)
	p.current = ""
}

// run evaluates the body of a JavaScript function in the page.
func (p *page) run(t testing.TB, body string, into any, args ...any) {
	t.Helper()
	p.front(t)
	if args == nil {
		args = []any{}
	}
	p.must(t, http.MethodPost, "/execute/sync", map[string]any{"script": body, "args": args}, into)
}

// until waits until an expression is true in the page.
func (p *page) until(t testing.TB, what, expression string, args ...any) {
	t.Helper()
	poll(t, what, func() (yes bool) {
		t.Helper()
		p.run(t, "return Boolean("+expression+")", &yes, args...)
		return yes
	}, func() (text string) {
		t.Helper()
		p.run(t, "return document.body.innerText", &text)
		return text
	})
}

// on finds an element as a person does, that is, once it is there, and returns
// its WebDriver path.
func (p *page) on(t testing.TB, selector string) string {
	t.Helper()
	p.until(t, selector, "document.querySelector(arguments[0])", selector)
	var element map[string]string
	p.must(t, http.MethodPost, "/element", map[string]string{"using": "css selector", "value": selector}, &element)
	for _, id := range element {
		return "/element/" + id
	}
	t.Fatalf("WebDriver found no element %s", selector)
	return ""
}

// click clicks with the mouse, so what covers the element or disables it counts.
func (p *page) click(t testing.TB, selector string) {
	t.Helper()
	p.must(t, http.MethodPost, p.on(t, selector)+"/click", nil, nil)
}

// write replaces the text of a field, key by key.
func (p *page) write(t testing.TB, selector, text string) {
	t.Helper()
	field := p.on(t, selector)
	p.must(t, http.MethodPost, field+"/clear", nil, nil)
	p.must(t, http.MethodPost, field+"/value", map[string]string{"text": text}, nil)
}

// text returns what a person reads there.
func (p *page) text(t testing.TB, selector string) (text string) {
	t.Helper()
	p.must(t, http.MethodGet, p.on(t, selector)+"/text", nil, &text)
	return text
}

// devtools sends a command of the Chrome DevTools protocol.
func (p *page) devtools(t testing.TB, command string, params map[string]any) {
	t.Helper()
	p.front(t)
	p.must(t, http.MethodPost, "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// look sets the width of the window and the colours the person prefers.
func (p *page) look(t testing.TB, width int, scheme string) {
	t.Helper()
	p.devtools(t, "Emulation.setDeviceMetricsOverride",
		map[string]any{"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": false})
	p.devtools(t, "Emulation.setEmulatedMedia",
		map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// screenshot keeps a picture of the window as name.png.
func (p *page) screenshot(t *testing.T, name string) {
	t.Helper()
	p.front(t)
	var picture string
	p.must(t, http.MethodGet, "/screenshot", nil, &picture)
	png, err := base64.StdEncoding.DecodeString(picture)
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("CHIME_SCREENSHOTS")
	if dir == "" {
		dir = t.ArtifactDir() // kept under go test -artifacts
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// uncaught returns the errors that the pages' scripts did not catch since it
// was last asked. A connection that failed is none: that is the network's.
func (b *browser) uncaught(t testing.TB) (errs []string) {
	t.Helper()
	var entries []struct{ Level, Source, Message string }
	b.must(t, http.MethodPost, "/se/log", map[string]string{"type": "browser"}, &entries)
	for _, e := range entries {
		if e.Level == "SEVERE" && e.Source == "javascript" {
			errs = append(errs, e.Message)
		}
	}
	return errs
}
