package main

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/generate anew")

// generated runs the command where files are, and returns what it says.
func generated(t *testing.T, files map[string]string, args ...string) (out, errs string) {
	t.Helper()
	t.Chdir(t.TempDir())
	lay(t, files)
	var o, e bytes.Buffer
	if code := run(t.Context(), append([]string{"generate"}, args...), &o, &e); (code == 0) != (e.Len() == 0) {
		t.Errorf("%q: got exit code %d and %q", args, code, e.String())
	}
	return o.String(), e.String()
}

// lay writes files below the working directory.
func lay(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// files reads everything below the working directory; a folder is an empty text
// under a name that ends in a slash.
func files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(at string, d fs.DirEntry, err error) error {
		if err != nil || at == "." {
			return err
		}
		if d.IsDir() {
			found[at+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(at)
		found[at] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestGenerateWritesWhatItSays(t *testing.T) {
	testdata, err := filepath.Abs("testdata/generate")
	if err != nil {
		t.Fatal(err)
	}
	const module = "// ours\nmodule \"example.com/chat\" // v1\n\ngo 1.26.0\n\nrequire github.com/go-chime/chime v1.0.0\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		args  []string
		wrote []string
		out   string
	}{
		{"channel", map[string]string{"main.go": "package main", "go.mod": module}, []string{"channel", "ChatRoom"},
			[]string{"chat_room.go", "chat_room_test.go"}, `chat_room.go
chat_room_test.go

Where a chime.Router, live, is mounted on your routes, r:

	live.Channel("chat_room:{id}", &ChatRoom{})
	r.Mount("/socket", live)
`},
		{"channels", map[string]string{"go.mod": module}, []string{"channel", "Lobby", "HTTPRoom", "--dir", "live/my-rooms"},
			[]string{"live/my-rooms/http_room.go", "live/my-rooms/http_room_test.go", "live/my-rooms/lobby.go", "live/my-rooms/lobby_test.go"},
			`live/my-rooms/lobby.go
live/my-rooms/lobby_test.go
live/my-rooms/http_room.go
live/my-rooms/http_room_test.go

Where a chime.Router, live, is mounted on your routes, r:

	live.Channel("lobby:{id}", &myrooms.Lobby{}) // import "example.com/chat/live/my-rooms"
	live.Channel("http_room:{id}", &myrooms.HTTPRoom{})
	r.Mount("/socket", live)
`},
		{"socket", map[string]string{"main.go": "package main\n\ntype ChatRoom struct{}\n", "go.mod": module},
			[]string{"socket", "User", "--channel", "chat_room:{id}=ChatRoom"},
			[]string{"user_socket.go", "user_socket_test.go"}, `user_socket.go
user_socket_test.go

No client can connect until connectUser, in user_socket.go, returns an identity.

Where your routes, r, are:

	live := NewUserSocket()
	r.Mount("/socket", live)
`},
		{"sockets", map[string]string{"go.mod": module}, []string{"socket", "AdminSocket", "--dir=live", "--package=admin",
			"--channel", "room:{id}=Room", "--channel", `a="b":{x}:doc*=Doc`, "--channel", "rooms=Room"},
			[]string{"live/admin_socket.go", "live/admin_socket_test.go"}, `live/admin_socket.go
live/admin_socket_test.go

Room is still missing: chime generate channel Room --dir live

Doc is still missing: chime generate channel Doc --dir live

No client can connect until connectAdmin, in live/admin_socket.go, returns an identity.

Where your routes, r, are:

	live := admin.NewAdminSocket() // import "example.com/chat/live"
	r.Mount("/socket", live)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs := generated(t, tt.files, tt.args...)
			if out != tt.out || errs != "" {
				t.Errorf("got\n%s%swant\n%s", out, errs, tt.out)
			}
			got := files(t)
			maps.DeleteFunc(got, func(name, _ string) bool {
				_, before := tt.files[name]
				return before || strings.HasSuffix(name, "/")
			})
			if wrote := slices.Sorted(maps.Keys(got)); !slices.Equal(wrote, tt.wrote) {
				t.Fatalf("wrote %q, want %q", wrote, tt.wrote)
			}
			for name, text := range got {
				// Not .go: they are of packages of which the rest is not there.
				golden := filepath.Join(testdata, filepath.Base(name)+".golden")
				if *update {
					if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if text != string(want) {
					t.Errorf("%s: got\n%s\nwant what is in testdata; -update puts it there", name, text)
				}
			}
		})
	}
}

func TestGenerateRefusesAndWritesNothing(t *testing.T) {
	main := map[string]string{"main.go": "package main\n"}
	with := func(name, text string) map[string]string {
		return map[string]string{"main.go": "package main\n", name: text}
	}
	long := "R" + strings.Repeat("o", 247) // its channel has 251 bytes, its test 256
	for _, tt := range []struct {
		files map[string]string
		args  string // split at |
		want  string
	}{
		{main, "", "channel or socket"},
		{main, "chanel|ChatRoom", `unknown command "chanel": want channel or socket`},
		{main, "channel", "no name given: want one or more"},
		{main, "socket", "generate socket: got 0 arguments: want one NAME, as in User"},
		{main, "socket|User|Admin|--channel|a:*=A", "generate socket: got 2 arguments: want one NAME, as in User"},
		{main, "socket|User", "--channel chat_room:{id}=ChatRoom"},
		{main, "channel|ChatRoom|--dire|x", "unknown flag"},

		{main, "channel|chat_room", `channel "chat_room" is not exported: want a name such as ChatRoom`},
		{main, "channel|ChatRoom|../Lobby", `channel "../Lobby" is not a Go identifier: want a name such as Lobby`},
		{main, "socket|user|--channel|a:*=A", `socket "user" is not exported: want a name such as User`},
		{main, "socket|User|--channel|a:*=rooms.Room", `--channel "rooms.Room" is not a Go identifier`},
		{main, "socket|User|--channel|a:*=", `--channel "" is empty`},
		{main, "socket|User|--channel|Room", `--channel "Room": want a pattern and a channel, as in chat_room:{id}=ChatRoom`},
		{main, "socket|User|--channel|=Room", "want a pattern and a channel"},
		{main, "socket|User|--channel|a:{id=Room", `--channel Room: pattern "a:{id": unclosed {: want {name}`},
		{main, "socket|User|--channel|a\n:*=Room", "control characters"},
		{main, "socket|User|--channel|chime=Room", `--channel Room: pattern "chime": want another topic than`},
		{main, "socket|User|--channel|a:{x}=Room|--channel|a:{y}=Room", "matches the same topics"},
		{main, "channel|" + strings.Repeat("R", 252), "want 1 to 255 bytes"},
		{main, "channel|ChatRoom|Chat_Room", "chat_room.go: two of the names lead to this file"},
		{main, "channel|ChatRoom|ChatRoom", "chat_room.go: two of the names lead to this file"},

		{with("chat_room.go", ""), "channel|Lobby|ChatRoom", "chat_room.go: the file exists, nothing is written: want another name, or --force"},
		{with("chat_room_test.go", ""), "channel|Lobby|ChatRoom", "chat_room_test.go: the file exists"},
		{with("chat_room.go/x", ""), "channel|Lobby|ChatRoom", "chat_room.go: the file exists"},
		{with("lobby_test.go/x", ""), "channel|ChatRoom|Lobby|--force", "is a directory"},
		{map[string]string{"chat_room.go": "package main // mine\n", "lobby.go/x": ""}, "channel|ChatRoom|Lobby|--force|--package|main", "is a directory"},
		{with("user_socket_test.go", ""), "socket|User|--channel|a:*=Room", "user_socket_test.go: the file exists"},

		{with("types.go", "package main\n\ntype Lobby int"), "channel|ChatRoom|Lobby", "lobby.go: Lobby is declared in types.go already"},
		{with("old.go", "package main\n\nvar _, Lobby = 1, 2\nfunc"), "channel|Lobby", "lobby.go: Lobby is declared in old.go already"},
		{with("old_test.go", "package main\n\nfunc TestLobby() {}"), "channel|Lobby", "lobby_test.go: TestLobby is declared in old_test.go already"},
		{with("old.go", "package main\n\nfunc connectUser() {}"), "socket|User|--channel|a:*=A", "user_socket.go: connectUser is declared in old.go already"},
		{with("old.go", "package main\n\nvar channel = 1"), "channel|Lobby", `lobby.go: the name of the import "github.com/go-chime/chime/channel" is declared in old.go`},
		{main, "channel|Lobby|TestLobby", "test_lobby.go: TestLobby is declared in lobby_test.go already"},

		{main, "channel|ChatRoom|--package|rooms", "has the package main: want that"},
		{main, "channel|ChatRoom|--dir|rooms|--package|my-rooms", `--package "my-rooms": not a Go identifier`},
		{main, "channel|ChatRoom|--dir|rooms|--package|rooms_test", "a name for tests"},
		{main, "channel|ChatRoom|--dir|rooms|--package|documentation", "Go does not build"},
		{main, "channel|ChatRoom|--dir|2048", "2048: not the name of a package: want one as --package"},
		{main, "channel|ChatRoom|--dir|type", "want one as --package"},
		{with("other.go", "package other"), "channel|ChatRoom", "has the packages main, other: want one of them as --package"},
		{main, "channel|ChatRoom|--dir|main.go", `--dir "main.go": it is, or is below, a file: want a folder`},
		{main, "channel|ChatRoom|--dir|my rooms", `--dir: "my rooms" cannot be part of an import path: want ASCII letters, digits, and any of -._~+`},
		{main, "channel|ChatRoom|--dir|live/zimmer-für-uns/x", `"zimmer-für-uns" cannot be part of an import path`},
		{main, "channel|ChatRoom|--dir|rooms.", `"rooms." cannot be part of an import path`},
		{main, "channel|Lobby|" + long + "|--dir|rooms", "file name too long"},
		{main, "channel|Lobby|" + long + "|--dir|live/chat/rooms", "file name too long"},
	} {
		_, errs := generated(t, tt.files, strings.FieldsFunc(tt.args, func(r rune) bool { return r == '|' })...)
		if !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: got %q, want one line with %q", tt.args, errs, tt.want)
		}
		got := files(t)
		maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasSuffix(name, ".go/") })
		if !maps.Equal(got, tt.files) {
			t.Errorf("%s: left %q, want what was there before", tt.args, got)
		}
	}
}

func TestGenerateForceOverwritesItsFilesOnly(t *testing.T) {
	before := map[string]string{
		"rooms/chat_room.go":      "package rooms\n\ntype ChatRoom struct{ mine int }\n",
		"rooms/chat_room_test.go": "package elsewhere",
		"rooms/other.go":          "package rooms\n\ntype Other struct{}\n",
	}
	_, errs := generated(t, before, "channel", "ChatRoom", "Lobby", "--force", "--dir", "rooms")
	if errs != "" {
		t.Fatal(errs)
	}
	got := files(t)
	for _, name := range []string{"chat_room.go", "chat_room_test.go", "lobby.go", "lobby_test.go"} {
		if text := got["rooms/"+name]; !strings.HasPrefix(text, "package rooms\n\nimport") {
			t.Errorf("%s: got %q", name, text)
		}
	}
	if got["rooms/other.go"] != before["rooms/other.go"] {
		t.Errorf("other.go: got %q", got["rooms/other.go"])
	}
}

// The files are right, and Go finds them only in a module: what is missing is told.
func TestGenerateSaysThatThereIsNoModule(t *testing.T) {
	const want = "\nNo go.mod in this folder or above, so the files do not build yet: run go mod init example.com/chat, then go mod tidy\n"
	for _, args := range []string{"channel|ChatRoom", "channel|ChatRoom|--dir|rooms", "socket|User|--channel|a:*=A"} {
		files := map[string]string{"main.go": "package main\n"}
		if out, errs := generated(t, files, strings.Split(args, "|")...); !strings.Contains(out, want) || errs != "" {
			t.Errorf("%s: got %q%q, want %q in it", args, out, errs, want)
		}
		for goMod, want := range map[string]string{
			"module x\n": "\nThe go.mod does not name github.com/go-chime/chime yet: run go mod tidy\n",
			"module x\n\nrequire github.com/go-chime/chime v1.0.0\n": "",
		} {
			files["go.mod"] = goMod
			out, errs := generated(t, files, strings.Split(args, "|")...)
			if strings.Contains(out, "go.mod") != (want != "") || !strings.Contains(out, want) || errs != "" {
				t.Errorf("%s with %q: got %q%q, want %q", args, goMod, out, errs, want)
			}
		}
	}
}

// In a function with a variable called live, live.ChatRoom would be a field.
func TestGenerateDoesNotHideThePackageThatItMounts(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"channel|ChatRoom|Lobby|--dir|live", `Where a chime.Router, router, is mounted on your routes, r:

	router.Channel("chat_room:{id}", &live.ChatRoom{})
	router.Channel("lobby:{id}", &live.Lobby{})
	r.Mount("/socket", router)
`},
		{"socket|User|--channel|a:*=A|--dir|live", `
	router := live.NewUserSocket()
	r.Mount("/socket", router)
`},
	} {
		if out, errs := generated(t, nil, strings.Split(tt.args, "|")...); !strings.HasSuffix(out, tt.want) || errs != "" {
			t.Errorf("%s: got %s%q, want an end in %q", tt.args, errs, out, tt.want)
		}
	}
}
