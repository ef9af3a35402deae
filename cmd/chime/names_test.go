package main

import (
	"strings"
	"testing"
)

func TestFileNamesAreBuiltEverywhere(t *testing.T) {
	for name, want := range map[string]string{
		"ChatRoom":       "chat_room",
		"Lobby":          "lobby",
		"HTTPRoom":       "http_room",
		"RoomHTTP":       "room_http",
		"HTTP":           "http",
		"UserID":         "user_id",
		"X":              "x",
		"Room2":          "room2",
		"HTTP2Room":      "http2_room",
		"Chat_Room":      "chat_room",
		"ÉtéRoom":        "été_room",
		"ChatTest":       "chat_test_channel",
		"Chat_test":      "chat_test_channel",
		"Test":           "test",
		"Contest":        "contest",
		"TestRoom":       "test_room",
		"RoomLinux":      "room_linux_channel",
		"RoomAMD64":      "room_amd64_channel",
		"RoomLinuxAMD64": "room_linux_amd64_channel",
		"LinuxAMD64":     "linux_amd64_channel",
		"GoJs":           "go_js_channel",
		"Linux":          "linux",
		"LinuxRoom":      "linux_room",
		"RoomUnix":       "room_unix", // only a tag
	} {
		if got := fileName(name, "channel"); got != want {
			t.Errorf("%s: got %s.go, want %s.go", name, got, want)
		}
	}
}

func TestNamesOfTypes(t *testing.T) {
	for name, want := range map[string]string{
		"ChatRoom":  "",
		"X":         "",
		"Été2":      "",
		"Chat_Room": "",
		"":          `channel "" is empty: want a name such as ChatRoom`,
		"chatRoom":  `channel "chatRoom" is not exported: want a name such as ChatRoom`,
		"_Room":     `channel "_Room" is not exported: want a name such as Room`,
		"_":         `channel "_" is not exported: want a name such as ChatRoom`,
		"世界":        `channel "世界" is not exported: want a name such as ChatRoom`,
		"select":    `channel "select" is a keyword of Go: want a name such as Select`,
		"string":    `channel "string" is predeclared in Go: want a name such as String`,
		"nil":       `channel "nil" is predeclared in Go: want a name such as Nil`,
		"Chat-Room": `channel "Chat-Room" is not a Go identifier: want a name such as ChatRoom`,
		"chat room": `channel "chat room" is not a Go identifier: want a name such as ChatRoom`,
		"../Room":   `channel "../Room" is not a Go identifier: want a name such as Room`,
		"a.Room":    `channel "a.Room" is not a Go identifier: want a name such as ARoom`,
		"2Rooms":    `channel "2Rooms" is not a Go identifier: want a name such as ChatRoom`,
		"Room\n{}":  `channel "Room\n{}" is not a Go identifier: want a name such as Room`,
		"Room\xff":  `channel "Room\xff" is not a Go identifier: want a name such as Room`,
	} {
		got := ""
		if err := checkName("channel", name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestPackagesOfNewFolders(t *testing.T) {
	for folder, want := range map[string]string{
		"rooms": "rooms", "my-rooms": "myrooms", "My.Rooms": "myrooms", "go-chat": "gochat", "2rooms": "rooms",
		"rooms_test": "roomstest", "chat_v2": "chatv2", "été": "été", "main": "main",
		"2048": "", "type": "", "go": "", "documentation": "", "/": "", "-": "",
	} {
		if got := packageName(folder); got != want {
			t.Errorf("%q: got %q, want %q", folder, got, want)
		}
	}
}

func TestPackagesOfFolders(t *testing.T) {
	for _, tt := range []struct{ name, files, want string }{ // files: name package, …
		{"its files say it", "a.go chat, a_test.go chat_test", "chat"},
		{"a program", "main.go main, main_test.go main", "main"},
		{"only tests", "a_test.go chat_test", "chat"},
		{"tests inside and outside", "a_test.go chat, b_test.go chat_test", "chat"},
		{"a generator of its own", "a.go chat, gen.go !main", "chat"},
		{"another system's", "a_plan9.go chat", "chat"},
		{"what Go ignores", "_a.go one, .b.go two, c.txt three, doc.go documentation, d.go 7", "rooms"},
		{"none", "", "rooms"},
	} {
		files := map[string]string{"x": ""}
		for file := range strings.SplitSeq(tt.files, ", ") {
			name, pkg, _ := strings.Cut(file, " ")
			pkg, ignored := strings.CutPrefix(pkg, "!")
			text := "package " + pkg + "\n\nfunc half(" // enough for its package
			if ignored {
				text = "//go:build ignore\n\n" + text
			}
			if name != "" {
				files["rooms/"+name] = text
			}
		}
		_, errs := generated(t, files, "channel", "ChatRoom", "--dir", "rooms")
		if errs != "" {
			t.Errorf("%s: %s", tt.name, errs)
			continue
		}
		if got, _, _ := strings.Cut(readFile(t, "rooms/chat_room.go"), "\n"); got != "package "+tt.want {
			t.Errorf("%s: got %q, want package %s", tt.name, got, tt.want)
		}
	}
}
