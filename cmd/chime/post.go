package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/broker"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/store"
	"github.com/go-chime/chime/store/boltstore"
)

const (
	maxPost     = 64 << 10 // bytes of a posted message, as much as a client may push
	maxRoomName = 100      // bytes
)

const badRoom = "no such room: want a name of 1 to 100 bytes of text without a colon"

// What an HTTP handler needs: who sends a request, and to broadcast.
type (
	identify  func(*http.Request) (chime.Identity, error)
	broadcast func(ctx context.Context, topic, event string, payload any, o ...channel.SendOption) error
)

// postMessage lets a program without a client socket speak in a room, and shows
// how any handler does. It answers 201 once the room keeps the message. A message that
// has a key, by the header or by its id, is said once, however often it is posted: the
// answer is the first one, or 422 if the key is that of another.
func postMessage(from identify, send broadcast, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		room, ok := roomOf(r)
		if !ok {
			refuse(w, http.StatusNotFound, badRoom)
			return
		}
		// A form of another site can send text/plain without asking first,
		// never application/json.
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			refuse(w, http.StatusUnsupportedMediaType, "send Content-Type: application/json")
			return
		}
		who, err := from(r)
		if err != nil {
			refuse(w, http.StatusUnauthorized, err.Error())
			return
		}
		body, status, reason := readBody(w, r)
		if status != 0 {
			refuse(w, status, reason)
			return
		}
		given, err := givenKey(r.Header)
		var msg said
		var key string
		if err == nil {
			msg, err = parseSaid(channel.Message{Payload: body}, cmp.Or(bearer(who), guest{Name: nobody}), cmp.Or(given, rand.Text()))
		}
		if err == nil {
			key, err = postKey(msg.By, cmp.Or(given, msg.ID))
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		var at store.Position
		err = send(r.Context(), "chat_room:"+room, "message_new", msg, channel.Once(key, body), channel.PositionTo(&at))
		switch {
		case errors.Is(err, store.ErrKeyReused):
			refuse(w, http.StatusUnprocessableEntity, store.ErrKeyReused.Error())
			return
		case err != nil:
			log.Error("posted message not kept", "room", room, "error", err)
			if errors.Is(err, boltstore.ErrFailed) { // no retry helps until somebody starts the server again
				refuse(w, http.StatusServiceUnavailable, "the message was not kept: the history file cannot be written until the server is restarted")
				return
			}
			w.Header().Set("Retry-After", "1")
			if errors.Is(err, broker.ErrUncertain) {
				refuse(w, http.StatusServiceUnavailable, "whether the message was kept is not known: try again, with the same Idempotency-Key or id")
				return
			}
			refuse(w, http.StatusServiceUnavailable, "the message was not kept: try again")
			return
		}
		answer(w, http.StatusCreated, map[string]any{"id": msg.ID, "offset": at.Offset})
	}
}

// givenKey returns what the header Idempotency-Key says, with quotes as the draft of the IETF
// has it, or without. "" is none.
func givenKey(h http.Header) (string, error) {
	key := h.Get("Idempotency-Key")
	inner, quoted := strings.CutPrefix(key, `"`)
	if !quoted {
		return key, nil
	}
	key, closed := strings.CutSuffix(inner, `"`)
	if !closed || strings.ContainsAny(key, `"\\`) {
		return "", errors.New("malformed Idempotency-Key: want a string in quotes")
	}
	return key, nil
}

// postKey is apart from the keys of clients, and of other guests.
func postKey(by, key string) (string, error) {
	if key == "" {
		return "", nil
	}
	key = "post " + by + " " + key
	if store.CheckKey(key) != nil {
		return "", fmt.Errorf("malformed Idempotency-Key or id: want at most %d bytes of text without control characters", store.MaxKey-len("post  ")-len(rand.Text()))
	}
	return key, nil
}

// readBody returns the body, or the status and reason of a refusal.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int, reason string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPost))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, http.StatusRequestEntityTooLarge, "the message is too large: want at most 64 KiB"
	case err != nil:
		return nil, http.StatusBadRequest, "the body is incomplete"
	case !utf8.Valid(body):
		// encoding/json would replace the bad bytes and say nothing.
		return nil, http.StatusBadRequest, "the body is not UTF-8"
	case len(bytes.TrimSpace(body)) == 0:
		return nil, http.StatusBadRequest, "the body is empty"
	}
	return body, 0, ""
}

// roomOf returns the {id} of the route, if a topic can be made of it.
func roomOf(r *http.Request) (string, bool) {
	room := chi.URLParam(r, "id")
	var err error
	if r.URL.RawPath != "" { // only then has chi matched, and cut, the escaped form
		room, err = url.PathUnescape(room)
	}
	bad := err != nil || room == "" || len(room) > maxRoomName || !utf8.ValidString(room) ||
		strings.ContainsFunc(room, func(c rune) bool { return c == ':' || unicode.IsControl(c) })
	return room, !bad
}

func refuse(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]any{"reason": reason})
}

func answer(w http.ResponseWriter, status int, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}
