package js

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	imported = regexp.MustCompile(`(?m)^import \{[^}]*\} from "([^"]+)";.*\n`)
	passedOn = regexp.MustCompile(`(?m)^export \{ ([^}]*) \} from "([^"]+)";.*\n`)
	exported = regexp.MustCompile(`(?m)^export (async|class|const|function)\b`)
	leftover = regexp.MustCompile(`(?m)^(import|export)\b.*`)
)

// join makes one ES module of entry, which does nothing but pass on what other modules
// export, and of all that these import. Each comes behind those that it imports, so
// they must not import each other, and a name that one declares must be no other's. It
// panics if the modules are written in another way than these regular expressions expect.
func join(files fs.FS, entry string) []byte {
	var b strings.Builder
	text := read(files, entry)
	b.WriteString(strings.TrimSpace(passedOn.ReplaceAllString(text, "")))
	b.WriteString("\n")
	var names, done, open []string
	var add func(file string)
	add = func(file string) {
		if slices.Contains(done, file) {
			return
		}
		if slices.Contains(open, file) {
			panic(fmt.Sprintf("chime: join: %v import each other", append(open, file)))
		}
		open = append(open, file)
		text := read(files, file)
		for _, m := range imported.FindAllStringSubmatch(text, -1) {
			add(path.Join(path.Dir(file), m[1]))
		}
		open = open[:len(open)-1]
		done = append(done, file)
		text = exported.ReplaceAllString(imported.ReplaceAllString(text, ""), "$1")
		if other := leftover.FindString(text); other != "" {
			panic(fmt.Sprintf("chime: join: %s: %q: want import { ... } from, and export before a declaration", file, other))
		}
		b.WriteString("\n" + strings.TrimSpace(text) + "\n")
	}
	for _, m := range passedOn.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
		add(path.Join(path.Dir(entry), m[2]))
	}
	fmt.Fprintf(&b, "\nexport { %s };\n", strings.Join(names, ", "))
	return []byte(b.String())
}

func read(files fs.FS, name string) string {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		panic(fmt.Sprintf("chime: join: %v", err)) // a program that was built without its parts
	}
	return string(text)
}
