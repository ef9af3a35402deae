package history_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/store"
)

// room has a history, and nothing to do.
type room struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

// line is a message as the pages of this application read it.
type line struct {
	Offset uint64          `json:"offset"`
	Text   json.RawMessage `json:"text"`
}

// older serves the messages of a room before an offset, to those who may read them.
func older(live channel.Live, mayRead func(r *http.Request, room string) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		room := chi.URLParam(r, "id")
		offset, err := strconv.ParseUint(r.FormValue("before"), 10, 64)
		if err != nil || offset == 0 || !mayRead(r, room) {
			http.NotFound(w, r)
			return
		}
		before := store.Position{Epoch: r.FormValue("epoch"), Offset: offset}
		page, err := live.HistoryBefore(r.Context(), "chat_room:"+room, before, 50)
		if err != nil {
			http.Error(w, "history can't be read", http.StatusServiceUnavailable)
			return
		}
		lines := []line{}
		for _, m := range page.Messages {
			lines = append(lines, line{m.Offset, m.Payload})
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "private, max-age=60")
		_ = json.NewEncoder(w).Encode(map[string]any{"lines": lines, "more": page.More, "complete": page.Complete})
	}
}

func TestOlderMessagesAreForThoseWhoMayRead(t *testing.T) {
	live := channeltest.New(t, "chat_room:{id}", room{}, channel.History{Keep: 10})
	for _, text := range []string{"hello", "hi"} {
		if err := live.Broadcast(t.Context(), "chat_room:1", "said", map[string]string{"text": text}); err != nil {
			t.Fatal(err)
		}
	}
	_, at, err := live.History(t.Context(), "chat_room:1", 1)
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Get("/rooms/{id}/messages", older(live, func(r *http.Request, room string) bool { return r.Header.Get("User") != "" && room == "1" }))
	for _, c := range []struct {
		user, query string
		status      int
		want        string
	}{
		{"ann", "1/messages?before=2&epoch=" + at.Epoch, 200, `{"complete":true,"lines":[{"offset":1,"text":{"text":"hello"}}],"more":false}`},
		{"ann", "1/messages?before=9&epoch=another", 200, `{"complete":false,"lines":[],"more":false}`},
		{"ann", "1/messages", 404, "404 page not found"},
		{"ann", "1/messages?before=0", 404, "404 page not found"},
		{"ann", "2/messages?before=2", 404, "404 page not found"},
		{"", "1/messages?before=2", 404, "404 page not found"},
	} {
		w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/rooms/"+c.query, nil)
		req.Header.Set("User", c.user)
		if r.ServeHTTP(w, req); w.Code != c.status || w.Body.String() != c.want+"\n" {
			t.Errorf("%s of %q: got %d %s, want %d %s", c.query, c.user, w.Code, w.Body, c.status, c.want)
		}
		if cached := w.Header().Get("Cache-Control") != ""; cached != (c.status == 200) {
			t.Errorf("%s: a page is cached: %t", c.query, cached)
		}
	}
}
