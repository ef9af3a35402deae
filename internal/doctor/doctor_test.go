package doctor_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/doctor"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/internal/raw"
	"github.com/go-chime/chime/transport/transporttest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// examine runs the doctor against a Router behind a network, in a bubble, where what
// waits takes no time. A nil network is a fair one. The URL is a path, /socket if empty.
func examine(t *testing.T, network *transporttest.Network, cfg doctor.Config, options ...chime.Option) (*doctor.Report, error) {
	t.Helper()
	return examineSite(t, network, func(h http.Handler) http.Handler { return h }, cfg, options)
}

func examineBehind(t *testing.T, use func(http.Handler) http.Handler, cfg doctor.Config) (*doctor.Report, error) {
	t.Helper()
	return examineSite(t, nil, use, cfg, nil)
}

func examineSite(t *testing.T, network *transporttest.Network, use func(http.Handler) http.Handler, cfg doctor.Config, options []chime.Option) (report *doctor.Report, failed error) {
	t.Helper()
	if options == nil {
		options = []chime.Option{chime.WithAnonymous()}
	}
	synctest.Test(t, func(t *testing.T) {
		live := chime.NewRouter(append(options, chime.WithLogger(slog.New(slog.DiscardHandler)))...)
		mux := http.NewServeMux()
		mux.Handle("/socket/", http.StripPrefix("/socket", live))
		inside, outside := raw.NewPipes(), raw.NewPipes()
		server := &http.Server{Handler: use(mux), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(inside)
		}()
		dialTo := func(dial func() (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
			return func(context.Context, string, string) (net.Conn, error) { return dial() }
		}
		scheme := "http"
		cfg.Dial = dialTo(inside.Dial)
		if network != nil {
			box := network.Serve(outside, "http://chime.example", cfg.Dial)
			defer box.Close()
			cfg.Dial = dialTo(outside.Dial)
			scheme, _, _ = strings.Cut(box.URL, ":")
		}
		cfg.URL, cfg.Insecure = scheme+"://chime.example"+cmp.Or(cfg.URL, "/socket"), true
		report, failed = doctor.Run(t.Context(), cfg)
		if err := live.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		<-done
		time.Sleep(time.Minute) // net/http lingers on a connection that it has closed
	})
	return report, failed
}

// ill is what the doctor says of each network.
var ill = map[string][]string{
	"drops-upgrade":        {"upgrade-dropped"},
	"refuses-upgrade":      {"upgrade-refused"},
	"deaf-websocket":       {"websocket-deaf"},
	"mute-websocket":       {"websocket-mute"},
	"cuts-young-websocket": {"websocket-cut-young"},
	"holds-blocks":         {"upgrade-dropped", "stream-held"},
	"holds-to-end":         {"upgrade-dropped", "answers-held-to-their-end"},
	"holds-first-chunk":    {"websocket-deaf", "stream-first-part-held"},
	"holds-after-first":    {"upgrade-dropped", "stream-rest-held"},
	"delays-streams":       {"upgrade-dropped", "stream-late"},
	"gzips":                {"upgrade-dropped", "stream-compressed"},
	"cuts-by-time":         {"cut-by-age"},
	"repeats-posts":        {"upgrade-dropped", "posts-repeated"},
	"loses-answers":        {"upgrade-dropped", "posts-unanswered"},
	"reorders-posts":       {"upgrade-dropped", "posts-reordered"},
	"http-1.0":             {"http-1.0", "upgrade-dropped"},
	"six-connections":      {"upgrade-dropped", "few-connections"},
	"half-open":            {"half-open"},
	"strips-headers":       {"headers-stripped"},
	"limits-headers":       {"header-limit"},
	"resets-http2":         {"upgrade-dropped", "http2-reset"},
	"service-worker":       {"answers-made-anew", "answers-held-to-their-end"},
	"local-network":        {"nothing-passes"},
}

// A setting of a proxy cures what a proxy does: who has a virus scanner, or an address
// translation that forgets, must not be sent to nginx.
func TestSettingsOfProxiesAreForWhatProxiesDo(t *testing.T) {
	for network, want := range map[string][]string{
		"drops-upgrade":  {"nginx", "HAProxy", "Apache", "Caddy", "Traefik", "AWS ALB", "Cloudflare"},
		"deaf-websocket": {"TLS"},
		"mute-websocket": {"TLS"},
		"half-open":      nil,
	} {
		t.Run(network, func(t *testing.T) {
			n, _ := transporttest.Named(network)
			report, err := examine(t, &n, doctor.Config{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, fix := range report.Faults[0].Fixes {
				got = append(got, fix.Product)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got cures of %q, want of %q: %s", got, want, report.Faults[0].Says)
			}
		})
	}
}

// The fault has a name, and the transports that get through are those of the network.
func TestTheDoctorNamesWhatEachNetworkDoes(t *testing.T) {
	for _, network := range transporttest.Networks() {
		t.Run(network.Name, func(t *testing.T) {
			report, err := examine(t, &network, doctor.Config{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range report.Faults {
				names = append(names, f.Name)
			}
			if !slices.Equal(names, ill[network.Name]) {
				t.Errorf("got the faults %q, want %q", names, ill[network.Name])
			}
			if strings.Join(report.Works, " ") != strings.Join(network.Passes, " ") {
				t.Errorf("got the transports %q, want %q", report.Works, network.Passes)
			}
			if t.Failed() || testing.Verbose() {
				t.Log(text(report))
			}
		})
	}
}

func text(r *doctor.Report) string {
	var b strings.Builder
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "\n%-12s %-18s %s", row.About, row.What, row.Found)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "\n%s: %s", f.Name, f.Says)
	}
	return b.String() + "\n" + r.Verdict
}

func TestTheDoctorFindsNothingInAFairNetwork(t *testing.T) {
	for _, quick := range []bool{false, true} {
		start := time.Now()
		report, err := examine(t, nil, doctor.Config{Quick: quick})
		if err != nil || len(report.Faults) > 0 || !report.Healthy() || !strings.HasPrefix(report.Verdict, "all is well: clients connect by websocket") {
			t.Fatalf("quick %t: got %v and %+v after %v, want no fault", quick, err, report, time.Since(start))
		}
		watched := slices.ContainsFunc(report.Rows, func(r doctor.Row) bool { return r.What == "heartbeat" && r.Found == "15s is enough: yes" })
		if watched == quick {
			t.Errorf("quick %t: connections were watched %t, in%s", quick, watched, text(report))
		}
	}
}

// behind is a handler that changes requests on their way.
func behind(change func(*http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			change(r)
			next.ServeHTTP(w, r)
		})
	}
}

func TestTheDoctorSeesThatTheHostIsAnother(t *testing.T) {
	report, err := examineBehind(t, behind(func(r *http.Request) { r.Host = "backend:4000" }), doctor.Config{Quick: true})
	if err != nil || len(report.Faults) != 1 || report.Faults[0].Name != "other-host" || report.Healthy() || len(report.Works) < 2 {
		t.Fatalf("got %v and %+v, want other-host, and all transports", err, report)
	}
	if fix := report.Faults[0].Fixes[0]; fix.Product != "nginx" || fix.Lines[0] != "proxy_set_header Host $http_host;" {
		t.Errorf("got the cure %+v, want that of nginx", fix)
	}
}

func TestTheDoctorSaysWhatIsWrongWithTheURL(t *testing.T) {
	for _, c := range []struct {
		change func(*http.Request)
		want   string
	}{
		{func(r *http.Request) { r.URL.Path = "/elsewhere" }, `404 Not Found: want the URL at which a router is mounted`},
	} {
		if _, err := examineBehind(t, behind(c.change), doctor.Config{Quick: true}); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	page := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				fmt.Fprint(w, "<title>Chat</title>")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	for _, c := range []struct {
		path, want string
		use        func(http.Handler) http.Handler
	}{
		{"/", `200 OK is no router's: want the URL at which one is mounted, which is http://chime.example/socket`, page},
		{"/", `404 Not Found: want the URL at which a router is mounted, which is http://chime.example/socket`, behind(func(*http.Request) {})},
	} {
		if _, err := examineBehind(t, c.use, doctor.Config{URL: c.path, Quick: true}); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.path, err, c.want)
		}
	}
	for url, want := range map[string]string{
		"chat.example.com":   `doctor: URL: got "chat.example.com": want http or https and a host, as in http://127.0.0.1:4000/socket`,
		"http://127.0.0.1:1": `doctor: URL: got "http://127.0.0.1:1": connection refused: want a server that answers`,
	} {
		if _, err := doctor.Run(t.Context(), doctor.Config{URL: url}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestTheDoctorShowsItsToken(t *testing.T) {
	known := chime.WithConnect(func(r *http.Request) (chime.Identity, error) {
		if chime.Token(r) != "t" {
			return chime.Identity{}, chime.RefuseConnect(http.StatusUnauthorized, "who are you?")
		}
		return chime.Identity{ID: "doctor"}, nil
	})
	if report, err := examine(t, nil, doctor.Config{Quick: true, Token: "t"}, known); err != nil || !report.Healthy() {
		t.Errorf("got %v and %+v, want it to be let in", err, report)
	}
	if _, err := examine(t, nil, doctor.Config{Quick: true}, known); err == nil || !strings.HasSuffix(err.Error(), "401 Unauthorized: want a token that the server knows") {
		t.Errorf("without a token: got %v, want an error that asks for one", err)
	}
}

// Each name that a network gets is in the document.
func TestDocumentsHaveTheNamesOfFaults(t *testing.T) {
	page, err := os.ReadFile("../../docs/networks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range doctor.FaultNames {
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("docs/networks.md has no row of %s", name)
		}
	}
	for network, names := range ill {
		for _, name := range names {
			if !slices.Contains(doctor.FaultNames, name) {
				t.Errorf("%s: there is no fault %s", network, name)
			}
		}
	}
}
