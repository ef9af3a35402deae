package chime_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"regexp"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
)

// Older messages over HTTP, for a page that renders them: who may read them is for the
// handler to say. A page before an offset is the same for all who may, and does not change
// but by what is taken out of it.
func ExampleRouter_HistoryBefore() {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	live.Channel("chat_room:{id}", chatRoom{}, channel.History{Keep: 1000, Replay: 50})

	r := chi.NewRouter()
	r.Get("/rooms/{id}/messages", func(w http.ResponseWriter, r *http.Request) {
		before := store.Position{Epoch: r.FormValue("epoch")} // of the newest, without an offset
		if text := r.FormValue("before"); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				http.Error(w, "before: want an offset", http.StatusBadRequest)
				return
			}
			before.Offset = n
		}
		page, err := live.HistoryBefore(r.Context(), "chat_room:"+chi.URLParam(r, "id"), before, 2)
		if err != nil {
			http.Error(w, "no such room", http.StatusNotFound)
			return
		}
		for _, m := range page.Messages {
			fmt.Fprintf(w, "<li>%s\n", m.Payload)
		}
		switch {
		case page.More:
			fmt.Fprintf(w, "<a href=\"?before=%d&epoch=%s\">older\n", page.Messages[0].Offset, page.Epoch)
		case page.Complete:
			fmt.Fprintln(w, "<p>This is where it began.")
		default:
			fmt.Fprintln(w, "<p>What was said before is no longer kept.")
		}
	})
	site, end := serve(r, live)
	defer end()

	for _, text := range []string{"hello", "anybody there?", "yes, me"} {
		say(live, text)
	}
	more := regexp.MustCompile(`href="(.*)"`)
	for query := ""; ; {
		page := get(site + "/rooms/lobby/messages" + query)
		fmt.Print(more.ReplaceAllString(page, "href"))
		link := more.FindStringSubmatch(page)
		if link == nil {
			break
		}
		query = link[1]
	}
	// Output:
	// <li>{"text":"anybody there?"}
	// <li>{"text":"yes, me"}
	// <a href>older
	// <li>{"text":"hello"}
	// <p>This is where it began.
}

// get returns what is at a URL.
func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	return string(body)
}
