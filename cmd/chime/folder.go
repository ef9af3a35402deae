package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// folder is what generated files have to fit in with.
type folder struct {
	pkg        string
	importPath string            // "" outside of a module
	hasChime   bool              // its module names the package that the files import
	declared   map[string]string // what its package declares, and in which file
}

// qualified is how a program that mounts it names something of the folder.
func (f folder) qualified(name string) string {
	if f.pkg == "main" {
		return name
	}
	return f.pkg + "." + name
}

// router is what a program that mounts it calls the router, which must not hide
// the folder's package.
func (f folder) router() string {
	if f.pkg == "live" {
		return "router"
	}
	return "live"
}

// look reads a folder, which need not be there yet, but for the files that will
// be replaced. Pkg is what --package says of it.
func look(dir, pkg string, replaced []string) (folder, error) {
	f := folder{declared: map[string]string{}}
	if pkg != "" {
		if err := checkPackage(pkg); err != nil {
			return f, err
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return f, fmt.Errorf("--dir: %w", err)
	}
	files, err := readGo(abs)
	if err != nil {
		return f, err
	}
	for _, name := range replaced {
		delete(files, name)
	}
	if f.pkg, err = choosePackage(abs, pkg, files); err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if g := files[name]; g.built && g.Name.Name == f.pkg {
			for _, d := range declares(g.File) {
				f.declared[d] = name
			}
		}
	}
	goMod, below, err := moduleAbove(abs)
	if err != nil {
		return f, err
	}
	f.hasChime = strings.Contains(goMod, "github.com/go-chime/chime")
	if module := moduleOf(goMod); module != "" {
		f.importPath = path.Join(module, below)
	} else if !filepath.IsAbs(dir) {
		below = filepath.ToSlash(filepath.Clean(dir)) // of the module that is likely to be made here
	}
	return f, checkBelow(below)
}

// goFile is a file of a folder, as far as it could be read.
type goFile struct {
	*ast.File
	built bool // on this system, with the usual tags
}

// readGo reads the Go files of a folder. One that is half-written still says
// its package and most of what it declares.
func readGo(dir string) (map[string]goFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	files := map[string]goFile{}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || filepath.Ext(name) != ".go" || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if parsed == nil {
			return nil, fmt.Errorf("--dir: %w", err)
		}
		if token.IsIdentifier(parsed.Name.Name) && parsed.Name.Name != "documentation" {
			built, err := build.Default.MatchFile(dir, name)
			files[name] = goFile{parsed, built || err != nil}
		}
	}
	return files, nil
}

// choosePackage is that of the folder's files, if it has any: those that are
// built say it before tests do, and tests before what is built elsewhere or, like
// a generator of the folder's own, never.
func choosePackage(dir, wanted string, files map[string]goFile) (string, error) {
	ranks := make([]map[string]bool, 3)
	for name, g := range files {
		pkg, rank := g.Name.Name, 0
		switch {
		case !g.built:
			rank = 2
		case strings.HasSuffix(name, "_test.go"):
			rank, pkg = 1, strings.TrimSuffix(pkg, "_test")
		}
		if ranks[rank] == nil {
			ranks[rank] = map[string]bool{}
		}
		ranks[rank][pkg] = true
	}
	for rank, found := range ranks {
		names := slices.Sorted(maps.Keys(found))
		switch {
		case len(names) == 0, wanted != "" && rank == 2:
			continue
		case wanted == "" && len(names) == 1:
			return names[0], nil
		case wanted == "":
			return "", fmt.Errorf("--dir %s: has the packages %s: want one of them as --package", dir, strings.Join(names, ", "))
		case !found[wanted]:
			return "", fmt.Errorf("--package %q: %s has the package %s: want that", wanted, dir, strings.Join(names, ", "))
		}
		return wanted, nil
	}
	if wanted != "" {
		return wanted, nil
	}
	if name := packageName(filepath.Base(dir)); name != "" {
		return name, nil
	}
	return "", fmt.Errorf("--dir %s: not the name of a package: want one as --package", dir)
}

// add declares what the files declare, and refuses what would not compile.
func (f folder) add(sources []source) error {
	for _, s := range sources {
		for _, name := range declares(s.parsed) {
			if other, ok := f.declared[name]; ok {
				return fmt.Errorf("%s: %s is declared in %s already: want another name", s.file, name, other)
			}
			f.declared[name] = s.file
		}
	}
	for _, s := range sources {
		for _, spec := range s.parsed.Imports {
			imported := path.Base(strings.Trim(spec.Path.Value, `"`))
			if other, ok := f.declared[imported]; ok {
				return fmt.Errorf("%s: the name of the import %s is declared in %s: want another name for that", s.file, spec.Path.Value, other)
			}
		}
	}
	return nil
}

// declares lists what a file adds to its package's scope.
func declares(file *ast.File) []string {
	var names []string
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name != "init" {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "_" })
}

// moduleAbove finds the go.mod of an absolute folder, and returns its text, empty where
// there is none; below is the folder as the module sees it.
func moduleAbove(dir string) (goMod, below string, err error) {
	for root := dir; ; root = filepath.Dir(root) {
		text, err := os.ReadFile(filepath.Join(root, "go.mod"))
		switch {
		case err == nil:
			below, err := filepath.Rel(root, dir)
			return string(text), filepath.ToSlash(below), err
		case !errors.Is(err, fs.ErrNotExist):
			return "", "", err
		case root == filepath.Dir(root):
			return "", "", nil
		}
	}
}

// checkBelow refuses a folder of a module that Go would refuse to import or build.
func checkBelow(below string) error {
	for part := range strings.SplitSeq(below, "/") {
		outside := func(r rune) bool {
			letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
			return !letter && !strings.ContainsRune("-._~+", r)
		}
		if part == "." || part == ".." {
			continue
		}
		if strings.ContainsFunc(part, outside) || strings.HasSuffix(part, ".") {
			return fmt.Errorf("--dir: %q cannot be part of an import path: want ASCII letters, digits, and any of -._~+, and no . at its end", part)
		}
	}
	return nil
}

func moduleOf(goMod string) string {
	for line := range strings.Lines(goMod) {
		line, _, _ = strings.Cut(line, "//")
		if f := strings.Fields(line); len(f) == 2 && f[0] == "module" {
			if unquoted, err := strconv.Unquote(f[1]); err == nil {
				return unquoted
			}
			return f[1]
		}
	}
	return ""
}
