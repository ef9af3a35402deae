package channels

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/go-chime/chime"
	"github.com/go-chime/chime/channel"
	"github.com/go-chime/chime/channel/channeltest"
	"github.com/go-chime/chime/internal/leak"
	"github.com/go-chime/chime/store"
)

func TestMain(m *testing.M) { leak.Main(m) }

type object = map[string]any

func TestTheChatRoom(t *testing.T) {
	rooms := Table{"42": {"user:ann": "owner", "user:bob": "guest"}}
	hub := channeltest.New(t, "chat_room:{id}", &ChatRoom{rooms: rooms, log: slog.New(slog.DiscardHandler)}, channel.History{Keep: 10, Replay: 10})
	annas, bobs := hub.Connect(chime.Identity{ID: "user:ann"}), hub.Connect(chime.Identity{ID: "user:bob"})
	hub.Connect(chime.Identity{ID: "user:eve"}).WantRefused("chat_room:42", nil, "members only")

	ann := annas.Join("chat_room:42", object{"name": "Ann"})
	ann.WantReply(object{"role": "owner"})
	ann.WantPush("here", object{"users": []string{"user:ann"}})
	bob := bobs.Join("chat_room:42", object{"name": "Bob"})
	ann.WantBroadcast("user_joined", object{"name": "Bob"})
	bob.Push("typing", nil).WantReply(nil)
	ann.WantBroadcast("typing", object{"name": "Bob"})
	bob.Push("message_new", object{"text": "hi"}).WantReply(nil)
	ann.WantBroadcast("message_new", object{"text": "hi"})
	bob.Push("message_old", nil).WantError("unknown event")
	bobs.Close(channel.Vanished)
	ann.WantBroadcast("user_left", object{"name": "Bob"})
}

func TestTheBoard(t *testing.T) {
	hub := channeltest.New(t, "board:{id}", NewBoard())
	ann, bob := hub.Join("board:1", nil), hub.Join("board:1", nil)
	ann.Push("move", Move{Card: "a", To: 2}).WantReply(nil)
	bob.WantBroadcast("moved", Move{Card: "a", To: 2})
	ann.Push("rename", object{"title": "Plan"}).WantReply(nil)
	bob.WantBroadcast("renamed", object{"title": "Plan"})
	ann.Push("move", object{"card": "a", "to": -1}).WantError("to: got -1, want at least 0")
	ann.Push("move", object{"to": 1}).WantError("malformed payload: card: missing")
	ann.Push("move", object{"card": "a", "to": "top"}).WantError("malformed payload: to: got string")
}

func TestTheMiddlewareCounts(t *testing.T) {
	messages := new(atomic.Int64)
	hub := channeltest.New(t, "board:{id}", NewBoard(), channel.Use(func(next channel.Channel) channel.Channel { return counted{next, messages} }))
	ann := hub.Join("board:1", nil)
	for range 3 {
		ann.Push("rename", object{"title": "Plan"}).WantReply(nil)
	}
	if got := messages.Load(); got != 3 {
		t.Errorf("got %d messages, want 3", got)
	}
}

func TestTheReportComesLater(t *testing.T) {
	jobs := make(chan func(), 1)
	ann := channeltest.New(t, "report", &Report{jobs: jobs}).Join("report", nil)
	sum := ann.Push("sum", []int{1, 2, 3})
	(<-jobs)()
	sum.WantReply(object{"total": 6})
	bad := ann.Push("sum", "many")
	(<-jobs)()
	bad.WantError("malformed payload")
}

func TestTheAuctionLetsGo(t *testing.T) {
	hub := channeltest.New(t, "auction:{id}", Auction{})
	ann, bob := hub.Join("auction:1", nil), hub.Join("auction:1", nil)
	ann.Push("bid", object{"eur": 3}).WantReply(nil)
	bob.WantBroadcast("bid", object{"eur": 3})
	bob.Push("pass", nil).WantReply(object{"so": "long"})
	bob.WantLeft()
}

func TestTheWhiteboardWantsBytes(t *testing.T) {
	hub := channeltest.New(t, "board", Whiteboard{})
	ann, bob := hub.Join("board", nil), hub.Join("board", nil)
	ann.Push("picture", channel.Binary{0xff, 0}).WantReply(object{"bytes": 2})
	bob.WantBroadcast("picture", channel.Binary{0xff, 0})
	ann.Push("picture", object{}).WantError("want a picture")
}

func TestWhatIsAddedToARouter(t *testing.T) {
	live := chime.NewRouter(chime.WithAnonymous(), chime.WithStore(store.NewMemory()))
	addRooms(live)
	addBoard(live)
	if err := live.Broadcast(t.Context(), "board:1", "moved", nil); err != nil {
		t.Error(err)
	}
	if err := live.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheFileAndThePage(t *testing.T) {
	t.Chdir(t.TempDir())
	live, kept := Open()
	defer func() {
		if err := live.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := live.Broadcast(t.Context(), "chat_room:42", "message_new", object{"text": "hi"}); err != nil {
		t.Fatal(err)
	}
	Render(t.Context(), live)
}

// desk lets everybody listen.
type desk struct {
	channel.AnyoneMayJoin
	channel.ListenOnly
	channel.NothingOnLeave
}

func TestAnOrderIsPaidOnce(t *testing.T) {
	hub := channeltest.New(t, "orders:{of}", desk{}, channel.History{Keep: 10})
	ann := hub.Join("orders:all", nil)
	var positions []store.Position
	for _, order := range []string{"7", "8", "7", "7"} {
		at, err := paid(t.Context(), hub, order)
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, at)
	}
	if positions[2] != positions[0] || positions[3] != positions[0] || positions[1] == positions[0] {
		t.Errorf("got the positions %v, want that of the first of each order", positions)
	}
	ann.WantBroadcast("order_paid", object{"order": "7"})
	ann.WantBroadcast("order_paid", object{"order": "8"})
	ann.WantNothing()
}

func TestANoteIsTakenBackByItsWriterAlone(t *testing.T) {
	wall := &Wall{}
	hub := channeltest.New(t, "wall", wall, channel.History{Keep: 10, Replay: 10})
	wall.live = hub
	anns, bobs := hub.Connect(chime.Identity{ID: "ann"}), hub.Connect(chime.Identity{ID: "bob"})
	ann, bob := anns.Join("wall", nil), bobs.Join("wall", nil)
	ann.Push("write", object{"text": "hi"}).WantReply(nil)
	ann.Push("write", object{"text": "oops"}).WantReply(nil)
	for n, text := range []string{"hi", "oops"} {
		bob.WantBroadcast("note", object{"by": "ann", "text": text})
		bob.Push("take_back", object{"offset": n + 1}).WantError("you have no such note")
	}
	for _, offset := range []uint64{0, 3, 1 << 63, 1<<64 - 1} {
		ann.Push("take_back", object{"offset": offset}).WantError("you have no such note")
	}
	ann.Push("take_back", object{"offset": 2}).WantReply(nil)
	ann.Push("take_back", object{"offset": 2}).WantError("you have no such note")
	ann.Push("take_back", object{"offset": 3}).WantError("you have no such note") // what says so
	bob.WantBroadcast("message_redacted", object{"offset": 2})
	cid := hub.Join("wall", nil)
	cid.WantBroadcast("note", object{"by": "ann", "text": "hi"})
	cid.WantBroadcast("message_redacted", object{"offset": 2})
	cid.WantNothing()
}
