package chime_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/go-chime/chime"

// imports says which packages of the module each package may import, which of
// other modules, and which of the standard library it must never know. Below cmd
// and examples everything public may be used; a suite (storetest) may import what
// it tests and what that may import; only tests may import it, and they may import
// what they like.
var imports = map[string]struct{ ours, others, never []string }{
	".":                    {ours: []string{"broker", "broker/local", "channel", "client/js", "internal/dialect", "internal/forward", "internal/queue", "internal/quiet", "internal/server", "internal/stats", "store", "transport"}, others: []string{chiModule}},
	"broker":               {ours: []string{"store"}, never: []string{"net", "net/http"}},
	"broker/local":         {ours: []string{"broker", "store"}, others: []string{semaphore}, never: []string{"log/slog", "net", "net/http", "time"}},
	"broker/nats":          {ours: []string{"broker", "internal/quiet", "store"}, others: []string{natsClient}, never: []string{"net", "net/http"}},
	"broker/nats/embedded": {others: []string{natsServer}, never: []string{"net/http"}},
	"broker/redis":         {ours: []string{"broker", "internal/quiet", "store"}, others: []string{rueidis}, never: []string{"net/http"}},
	"channel":              {ours: []string{"broker", "broker/local", "internal/fanout", "internal/presence", "internal/queue", "internal/quiet", "internal/stats", "internal/wire", "store", "transport"}, never: []string{"net", "net/http"}},
	"channel/middleware":   {ours: []string{"channel", "internal/pace"}, never: []string{"net", "net/http"}},
	"client/js":            {},
	"cmd":                  {ours: []string{"internal/conformance", "internal/doctor", "internal/quiet"}, others: []string{chiModule, prometheus, "github.com/r3labs/sse/v2", "github.com/spf13/cobra"}},
	"examples":             {others: []string{chiModule}},
	"internal/certtest":    {ours: []string{}}, // nothing
	"internal/clientsocket": {
		ours:  []string{"internal/flush", "internal/nonblock", "internal/pace", "internal/queue", "internal/quiet", "internal/stats", "internal/wire", "transport"},
		never: []string{"log/slog", "net", "net/http"},
	},
	"internal/conformance": {others: []string{"github.com/coder/websocket"}},
	"internal/contract":    {ours: []string{"broker/brokertest", "internal/presence", "internal/raw", "transport/transporttest"}, others: []string{chiModule, "github.com/coder/websocket"}},
	"internal/dialect":     {ours: []string{"internal/stats", "internal/wire"}},
	"internal/doctor":      {ours: []string{"transport"}, others: []string{"github.com/coder/websocket"}},
	"internal/drafttest":   {ours: []string{"internal/wire"}},
	"internal/e2e":         {},
	"internal/fanout":      {ours: []string{"broker", "internal/stats", "internal/wire", "store"}, never: []string{"log/slog", "net", "net/http"}},
	"internal/forward":     {ours: []string{"broker"}, never: []string{"log/slog"}},
	"internal/flush":       {ours: []string{"internal/nonblock"}, never: []string{"net", "net/http"}},
	"internal/nodetest":    {ours: []string{"channel/channeltest"}},
	"internal/nonblock":    {},
	"internal/origin":      {},
	"internal/pace":        {never: []string{"net", "net/http"}},
	"internal/quiet":       {never: []string{"net", "net/http"}},
	"internal/presence":    {ours: []string{"broker", "internal/wire"}, never: []string{"log/slog", "net", "net/http"}},
	"internal/queue":       {ours: []string{"internal/wire"}, never: []string{"net", "net/http", "sync", "time"}},
	"internal/raw":         {others: []string{chiModule}},
	"internal/redistest":   {ours: []string{"internal/certtest", "internal/need"}},
	"internal/server": {
		ours:   []string{"internal/clientsocket", "internal/dialect", "internal/nonblock", "internal/origin", "internal/pace", "internal/queue", "internal/quiet", "internal/stats", "internal/wire", "transport"},
		others: []string{"github.com/coder/websocket"},
	},
	"internal/stats":  {ours: []string{"store"}, never: []string{"log/slog", "net", "net/http"}},
	"internal/wire":   {},
	"metrics":         {ours: []string{"", "internal/stats"}, others: []string{prometheus}},
	"store":           {ours: []string{"store/internal/eviction"}},
	"store/boltstore": {ours: ofFiles, others: []string{"go.etcd.io/bbolt"}},
	"transport":       {ours: []string{"internal/wire"}, never: []string{"net", "net/http"}},

	"transport/transporttest": {ours: []string{"transport"}},

	"store/boltstore/boltfile":      {ours: ofFiles, others: []string{"go.etcd.io/bbolt"}},
	"store/boltstore/internal":      {ours: ofFiles, others: []string{"go.etcd.io/bbolt"}},
	"store/boltstore/internal/disk": {ours: []string{"store"}, others: []string{"go.etcd.io/bbolt"}},
	"store/boltstore/internal/tree": {ours: []string{"store", "store/boltstore/internal/disk", "store/internal/eviction"}, others: []string{"go.etcd.io/bbolt"}},
	"store/internal/eviction":       {},
}

// ofFiles is what those import that use a history file.
var ofFiles = []string{"store", "store/boltstore/internal/disk", "store/boltstore/internal/tree", "store/internal/eviction"}

// helpers may be imported by everybody and import nothing of ours.
var helpers = []string{"internal/leak", "internal/mono", "internal/need", "internal/task"}

// forTests are the packages that tests share. Only tests may import them; they may
// import all that is public.
var forTests = []string{"internal/certtest", "internal/contract", "internal/drafttest", "internal/nodetest", "internal/raw", "internal/redistest"}

const semaphore = "golang.org/x/sync/semaphore"

// prometheus is linked by those who import package metrics, and by nobody else.
const prometheus = "github.com/prometheus/client_golang"

// rueidis is linked by those who import broker/redis, and by nobody else.
const rueidis = "github.com/redis/rueidis"

// The client is linked by those who import broker/nats, and the server by those who import
// package embedded.
const (
	natsClient = "github.com/nats-io/nats.go"
	natsServer = "github.com/nats-io/nats-server/v2"
)

const chiModule = "github.com/go-chi/chi/v5"

// direct are the requirements of go.mod that are not indirect. One more is a
// page in docs/adr.
var direct = []string{"github.com/coder/websocket", chiModule, natsServer, natsClient, prometheus, "github.com/r3labs/sse/v2", rueidis, "github.com/spf13/cobra", "go.etcd.io/bbolt", "golang.org/x/sync", "pgregory.net/rapid"}

func TestImports(t *testing.T) {
	for file, list := range importsOf(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue // which tests may import is decided by go.mod
		}
		for _, imported := range list {
			if why := forbids(path.Dir(file), imported); why != "" {
				t.Errorf("%s imports %s: %s", file, imported, why)
			}
		}
	}
}

func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		from, imported string
		allowed        bool
	}{
		{".", "net/http", true},
		{".", module + "/channel", true},
		{".", module + "/internal/wire", false},
		{".", chiModule, true},
		{".", chiModule + "/middleware", true},
		{".", "github.com/go-chi/chi/v5x", false},
		{".", module + "/store/storetest", false},
		{"channel", chiModule, false},
		{"channel", module, false},
		{"channel", module + "/internal/task", true},
		{"channel/channeltest", module + "/channel", true},
		{"channel/channeltest", module + "/internal/wire", true},
		{"channel/channeltest", module + "/store/storetest", false},
		{"cmd/chime", module, true},
		{"cmd/chime", module + "/client/js", true},
		{"cmd/chime", module + "/internal/wire", false},
		{"cmd/chime", module + "/internal/conformance", true},
		{"internal/conformance", module + "/internal/wire", false},
		{"cmd/chime", "github.com/coder/websocket", false},
		{"cmd/chime", module + "/internal/raw", false},
		{"internal/contract", module, true},
		{"internal/contract", module + "/internal/raw", true},
		{"internal/contract", module + "/internal/wire", false},
		{"internal/raw", module + "/internal/contract", false},
		{"internal/raw", module + "/store/storetest", false},
		{"internal/task", module + "/store", false},
		{"store", module + "/transport", false},
		{"store", "go.etcd.io/bbolt", false},
		{".", prometheus + "/prometheus", false},
		{".", module + "/metrics", false},
		{".", module + "/broker/redis", false},
		{".", module + "/broker/nats", false},
		{"channel", module + "/broker/nats", false},
		{"broker/nats", natsClient + "/jetstream", true},
		{"broker/nats", natsServer + "/server", false},
		{"broker/nats", module + "/broker/nats/embedded", false},
		{"broker/nats/embedded", natsServer + "/server", true},
		{"broker", natsClient, false},
		{"channel", module + "/broker/redis", false},
		{"broker/redis", rueidis, true},
		{"broker", rueidis, false},
		{"internal/stats", prometheus + "/prometheus", false},
		{"metrics", prometheus + "/prometheus", true},
		{"metrics", module, true},
		{"store/boltstore", module + "/metrics", false},
		{"store/boltstore", "go.etcd.io/bbolt", true},
		{"store/boltstore", module + "/store", true},
		{"store/boltstore", module + "/broker", false},
		{"store/boltstore", module + "/store/boltstore/boltfile", false},
		{"store/boltstore/boltfile", module + "/store/boltstore/internal/tree", true},
		{"store/boltstore/boltfile", module + "/store/boltstore", false},
		{"store/boltstore/internal/disk", module + "/store/boltstore/internal/tree", false},
		{"store/boltstore/internal/filetest", module + "/store/boltstore/internal/disk", true},
		{"store/boltstore/internal/tree", module + "/store/boltstore/internal/disk", true},
		{"store/boltstore/internal/tree", module + "/store/boltstore", false},
		{"store/storetest", module + "/store", true},
		{"transport", module + "/store", false},
		{"transport", "net/http", false},
		{"transport/transporttest", "net/http", true},
		{"transport/transporttest", module + "/internal/wire", false},
		{"cmd/chime", module + "/transport/transporttest", false},
		{"transport", "github.com/coder/websocket", false},
		{"internal/server", "github.com/coder/websocket", true},
		{"internal/server", module + "/channel", false},
		{"internal/clientsocket", "github.com/coder/websocket", false},
		{"internal/clientsocket", "net/http", false},
		{"internal/clientsocket", "time", true},
		{"internal/clientsocket", module + "/internal/dialect", false},
		{"internal/queue", module + "/internal/flush", false},
		{"internal/flush", module + "/internal/queue", false},
		{"unheard/of", "fmt", false},
	} {
		if why := forbids(c.from, c.imported); (why == "") != c.allowed {
			t.Errorf("%s imports %s: got %q, want allowed %v", c.from, c.imported, why, c.allowed)
		}
	}
}

func TestDirectDependencies(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == "require" {
			fields = fields[1:]
		}
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") {
			got = append(got, fields[0])
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, direct) {
		t.Errorf("go.mod requires %q, want %q", got, direct)
	}
}

// TestAnAppWithoutABrokerLinksNoClientOfOne looks at all that is linked.
func TestAnAppWithoutABrokerLinksNoClientOfOne(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".", "./channel", "./broker/local", "./store/boltstore", "./metrics").Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, chiModule) {
		t.Fatalf("linked are %q, and chi is not among them", linked)
	}
	for _, name := range linked {
		if strings.HasPrefix(name, rueidis) || strings.HasPrefix(name, natsClient) || strings.HasPrefix(name, natsServer) {
			t.Errorf("%s is linked", name)
		}
	}
}

// forbids says why a package may not import another, or "".
func forbids(from, imported string) string {
	rule, suite := from, false
	switch first, _, _ := strings.Cut(from, "/"); {
	case first == "cmd", first == "examples":
		rule = first
	case imports[from].ours != nil: // a suite that needs what the package must not know
	case strings.HasSuffix(from, "test"):
		rule, suite = path.Dir(from), true
	}
	allowed, known := imports[rule]
	if !known && !slices.Contains(helpers, from) {
		return "the package is not in the table of deps_test.go"
	}
	ours, local := strings.CutPrefix(imported+"/", module+"/")
	if !local {
		if slices.Contains(allowed.never, imported) {
			return "the package must not know it"
		}
		standard := !strings.Contains(strings.Split(imported, "/")[0], ".")
		if standard || slices.ContainsFunc(allowed.others, func(m string) bool { return strings.HasPrefix(imported+"/", m+"/") }) {
			return ""
		}
		return fmt.Sprintf("of other modules it may import %q", allowed.others)
	}
	ours = strings.TrimSuffix(ours, "/")
	public := !strings.HasPrefix(ours, "internal/")
	switch {
	case slices.Contains(helpers, ours) && !slices.Contains(helpers, from):
		return ""
	case slices.Contains(forTests, from) && slices.Contains(allowed.ours, ours):
		return ""
	case strings.HasSuffix(ours, "test"):
		return "suites are for tests"
	case slices.Contains(forTests, ours) && !slices.Contains(forTests, from):
		return "the package is for tests"
	case (rule == "cmd" || rule == "examples" || slices.Contains(forTests, from)) && public:
		return ""
	case suite && ours == rule, slices.Contains(allowed.ours, ours):
		return ""
	}
	return fmt.Sprintf("of this module it may import %q", allowed.ours)
}

// importsOf reads what each Go file of the module imports, on whatever system
// it is built.
func importsOf(t *testing.T) map[string][]string {
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != "." {
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			if err == nil || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return filepath.SkipDir // not of this module
			}
		}
		if d.IsDir() || filepath.Ext(file) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		list := []string{}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			list = append(list, imported)
		}
		found[filepath.ToSlash(file)] = list
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := found["router.go"]; !ok {
		t.Fatalf("read %v, and router.go is not among them", slices.Sorted(maps.Keys(found)))
	}
	return found
}
