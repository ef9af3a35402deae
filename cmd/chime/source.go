package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*"))

// outline is a file that will be written.
type outline struct {
	file     string
	template string
	data     any
}

// source is a file that can be written.
type source struct {
	file   string
	text   []byte
	parsed *ast.File
}

// render fills in the templates, formatted as gofmt does. Two files of one name
// are refused: the later would replace the earlier.
func render(outlines []outline, pkg string) ([]source, error) {
	var sources []source
	seen := map[string]bool{}
	for _, o := range outlines {
		if seen[o.file] {
			return nil, fmt.Errorf("%s: two of the names lead to this file: want each once", o.file)
		}
		seen[o.file] = true
		var b bytes.Buffer
		fmt.Fprintf(&b, "package %s\n", pkg)
		if err := templates.ExecuteTemplate(&b, o.template, o.data); err != nil {
			return nil, err
		}
		text, err := format.Source(b.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.file, err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), o.file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{o.file, text, parsed})
	}
	return sources, nil
}

// checkFree refuses to overwrite without --force.
func (to target) checkFree(names []string) error {
	for _, name := range names {
		at := filepath.Join(to.dir, name)
		switch _, err := os.Lstat(at); {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("--dir %q: it is, or is below, a file: want a folder, or the path of a new one", to.dir)
		case err != nil:
			return fmt.Errorf("--dir: %w", err)
		case !to.force:
			return fmt.Errorf("%s: the file exists, nothing is written: want another name, or --force", at)
		}
	}
	return nil
}

// write writes all files or, when one can't be written, restores what was
// there. Without force it never replaces a file, whoever put it there meanwhile.
func (to target) write(sources []source) (err error) {
	var undo []func() error
	defer func() {
		for i := len(undo); err != nil && i > 0; i-- {
			err = errors.Join(err, undo[i-1]())
		}
	}()
	for _, dir := range missing(to.dir) {
		undo = append(undo, func() error { return removed(dir) })
	}
	if err := os.MkdirAll(to.dir, 0o755); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	for _, s := range sources {
		at := filepath.Join(to.dir, s.file)
		how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
		back := func() error { return os.Remove(at) }
		if to.force {
			old, err := os.ReadFile(at)
			if err == nil {
				how = os.O_WRONLY | os.O_TRUNC
				back = func() error { return os.WriteFile(at, old, 0o644) }
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		f, err := os.OpenFile(at, how, 0o644)
		if err != nil {
			return err
		}
		undo = append(undo, back)
		_, err = f.Write(s.text)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// missing lists the folders that have to be made for dir to be there, the
// outermost first.
func missing(dir string) []string {
	if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
		return nil
	}
	return append(missing(filepath.Dir(dir)), dir)
}

// removed removes a folder that may never have been made.
func removed(dir string) error {
	if err := os.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
