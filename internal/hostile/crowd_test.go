package hostile_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/internal/raw"
)

// Clients that are too many, or come too often.

const alice, bob = "Authorization: Bearer alice", "Authorization: Bearer bob"

// knocks ask for a connection in each way that has a status of its own.
var knocks = map[string]func(t *testing.T, s *raw.Site, header ...string) *raw.Answer{
	"websocket/phoenix": knocksAt("/socket/websocket?vsn=2.0.0", raw.UpgradeHeader...),
	"websocket/chime":   knocksAt("/socket/websocket", append(slices.Clone(raw.UpgradeHeader), raw.ChimeProtocol)...),
	"websocket/amber":   knocksAt("/socket", raw.UpgradeHeader...),
	"stream/chime":      knocksAt("/socket/sse", "Chime-Received: 0"),
	"poll/chime":        knocksAt("/socket/poll", "Chime-Received: 0"),
}

func knocksAt(target string, own ...string) func(*testing.T, *raw.Site, ...string) *raw.Answer {
	return func(t *testing.T, s *raw.Site, header ...string) *raw.Answer {
		t.Helper()
		defer synctest.Wait() // the answer goes out before the client socket is opened
		return s.Request(t, http.MethodGet, target, "", append(slices.Clone(own), header...)...)
	}
}

func wantIn(t *testing.T, res *raw.Answer) {
	t.Helper()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("got %s, want it let in", res.Status)
	}
}

func wantLater(t *testing.T, res *raw.Answer, status int, reason, retry string) {
	t.Helper()
	if got := res.Header.Get("Retry-After"); got != retry {
		t.Errorf("Retry-After: got %q, want %q", got, retry)
	}
	res.Want(t, status, `{"reason":"`+reason+`"}`)
}

// behind has all requests come from an address, as RealIP would leave it.
func behind(address *string) []func(http.Handler) http.Handler {
	return []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = *address
			next.ServeHTTP(w, r)
		})
	}}
}

func TestConnectsBeyondTheRateAreRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{ConnectsPerSecond: 1})
	for name, knock := range knocks {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				for range 10 {
					wantIn(t, knock(t, s, alice))
				}
				wantLater(t, knock(t, s, alice), http.StatusTooManyRequests, "too many connects", "1")
				res := s.Request(t, http.MethodGet, "/socket/sse?join=hall:1", "", alice)
				body, _ := io.ReadAll(res.Body)
				var ms int
				if _, err := fmt.Sscanf(string(body), "retry: %d\n\n", &ms); err != nil || res.StatusCode != http.StatusOK || ms < 1000 || ms >= 5000 {
					t.Errorf("a stream without chime headers: got %s %q, want 200, and to come back", res.Status, body)
				}
				for range 20 { // nobody else pays for that
					wantIn(t, knock(t, s))
				}
				wantIn(t, knock(t, s, bob))
				time.Sleep(time.Second)
				wantIn(t, knock(t, s, alice))
				if got := refusals(s.Live, "connect_rate"); got != 2 {
					t.Errorf("got %d refused by connect_rate, want 2", got)
				}
			})
		})
	}
}

func TestPostsBeyondTheRateAreRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{PostsPerSecond: 1})
	raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
		_, secret := s.Half(t, alice)
		_, other := s.Half(t, bob)
		const body = `{"first":1,"frames":[]}`
		for range 10 {
			s.Post(t, secret, body, alice, "Connection: close").WantApplied(t, 0)
		}
		wantLater(t, s.Post(t, secret, body, alice), http.StatusTooManyRequests, "too many POSTs", "1")
		s.Post(t, other, body, bob, "Connection: close").WantApplied(t, 0)
		time.Sleep(time.Second)
		s.Post(t, secret, body, alice, "Connection: close").WantApplied(t, 0)
		if got := refusals(s.Live, "post_rate"); got != 1 {
			t.Errorf("got %d refused by post_rate, want 1", got)
		}

		time.Sleep(10 * time.Second)
		p := s.Poll(t, alice) // whose polls are paid for as POSTs are
		ask := []string{alice, "Chime-Received: 0", "Chime-Hold: 0", "Connection: close", "Chime-Secret: " + p.Secret}
		for range 10 {
			wantIn(t, s.Request(t, http.MethodGet, "/socket/poll", "", ask...))
		}
		wantLater(t, s.Request(t, http.MethodGet, "/socket/poll", "", ask...), http.StatusTooManyRequests, "too many POSTs", "1")
	})
}

// Whoever shares an address pays for the others only if the application says so.
func TestAnonymousClientsOfOneAddressPayForEachOtherOnlyIfToldSo(t *testing.T) {
	address := ""
	for name, test := range map[string]struct {
		limits  chime.Limits
		allowed int
		another string
	}{
		"by default":             {chime.Limits{ConnectsPerSecond: 1, IdentitySockets: 1}, 30, ""},
		"the rate of connects":   {chime.Limits{AddressConnectsPerSecond: 1}, 10, "192.0.2.8"},
		"how many there are":     {chime.Limits{AddressSockets: 3}, 3, "192.0.2.8:1234"},
		"a network of IPv6":      {chime.Limits{AddressSockets: 3}, 3, "2001:db8:1:3::1"},
		"and not by Unix socket": {chime.Limits{AddressSockets: 3}, 30, ""},
	} {
		t.Run(name, func(t *testing.T) {
			own := []string{"192.0.2.7", "192.0.2.7:4321", "[::ffff:192.0.2.7]:80"}
			switch name {
			case "a network of IPv6":
				own = []string{"2001:db8:1:2::1", "[2001:db8:1:2:3::4]:80"}
			case "and not by Unix socket":
				own = []string{"@"}
			}
			raw.InBubbleBehind(t, &http.Server{}, []chime.Option{chime.WithLimits(test.limits)}, behind(&address), func(t *testing.T, s *raw.Site) {
				knock := knocks["stream/chime"]
				for n := range test.allowed {
					address = own[n%len(own)]
					wantIn(t, knock(t, s))
				}
				if test.another == "" {
					return
				}
				if res := knock(t, s); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
					t.Errorf("got %s, want 429 and Retry-After", res.Status)
				}
				wantIn(t, knock(t, s, alice)) // known by name
				address = test.another
				wantIn(t, knock(t, s))
			})
		})
	}
}

func TestOneClientSocketTooManyIsRefused(t *testing.T) {
	limits := chime.WithLimits(chime.Limits{IdentitySockets: 2, ClientSockets: 4})
	for name, knock := range knocks {
		t.Run(name, func(t *testing.T) {
			raw.InBubble(t, &http.Server{}, []chime.Option{limits}, func(t *testing.T, s *raw.Site) {
				first := s.Phoenix(t, alice)
				synctest.Wait()
				wantIn(t, knock(t, s, alice))
				wantLater(t, knock(t, s, alice), http.StatusTooManyRequests, "too many client sockets", "10")
				wantIn(t, knock(t, s, bob))
				_ = first.Conn.Close()
				synctest.Wait()
				wantIn(t, knock(t, s, alice)) // there is room again
				wantIn(t, knock(t, s))
				wantLater(t, knock(t, s), http.StatusServiceUnavailable, "the server has as many clients as it takes", "10")
				if got, all := refusals(s.Live, "identity_sockets"), refusals(s.Live, "client_sockets"); got != 1 || all != 1 {
					t.Errorf("got %d by identity_sockets and %d by client_sockets, want 1 and 1", got, all)
				}
				if err := s.Live.Disconnect(t.Context(), "alice"); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				wantIn(t, knock(t, s, alice))
				wantIn(t, knock(t, s))
			})
		})
	}
}
