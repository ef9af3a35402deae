package readme

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestTheServerSaysWhoSpeaks(t *testing.T) {
	hub := channeltest.New(t, "chat_room:{id}", ChatRoom{}, channel.History{Keep: 1000, Replay: 50})
	ann := hub.Connect(chime.Identity{ID: "ann"}).Join("chat_room:lobby", nil)
	ann.Push("message_new", map[string]string{"text": "hello", "from": "bob"}).WantReply(nil)
	hello := map[string]string{"text": "hello", "from": "ann"}
	ann.WantBroadcast("message_new", hello)
	ann.Push("message_new", []int{1}).WantError("malformed payload")

	bob := hub.Connect(chime.Identity{ID: "bob"}).Join("chat_room:lobby", nil)
	bob.WantBroadcast("message_new", hello) // replayed
	ann.WantNothing()
}

func TestWhoHasNoNameIsAskedToLogIn(t *testing.T) {
	r := chi.NewRouter()
	live := Mount(r)
	defer func() {
		if err := live.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		user string
		want int
	}{{"", http.StatusUnauthorized}, {"ann", http.StatusOK}} {
		w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/socket/poll", nil)
		req.Header.Set("Chime-Received", "0")
		if test.user != "" {
			req.SetBasicAuth(test.user, "secret")
		}
		if r.ServeHTTP(w, req); w.Code != test.want {
			t.Errorf("user %q: got %d %s, want %d", test.user, w.Code, w.Body, test.want)
		}
		if secret := regexp.MustCompile(`"secret":"([^"]+)"`).FindStringSubmatch(w.Body.String()); secret != nil {
			r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/socket/bye", strings.NewReader(secret[1])))
		}
	}
}
