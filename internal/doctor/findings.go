package doctor

import (
	"fmt"
	"slices"
)

// findings is what was found so far.
type findings struct {
	report  *Report
	found   func(Row)    // may be nil
	waiting func(string) // may be nil
}

// note adds a row.
func (f *findings) note(about, what, format string, args ...any) {
	row := Row{about, what, fmt.Sprintf(format, args...)}
	f.report.Rows = append(f.report.Rows, row)
	if f.found != nil {
		f.found(row)
	}
}

// wait says what is waited for.
func (f *findings) wait(format string, args ...any) {
	if f.waiting != nil {
		f.waiting(fmt.Sprintf(format, args...))
	}
}

// carries notes that a transport carries a client, works whether it does.
func (f *findings) carries(kind string)    { f.report.Works = append(f.report.Works, kind) }
func (f *findings) works(kind string) bool { return slices.Contains(f.report.Works, kind) }

// fault adds one. Of the same name the first is kept.
func (f *findings) fault(name, format string, args ...any) {
	if slices.ContainsFunc(f.report.Faults, func(f Fault) bool { return f.Name == name }) {
		return
	}
	f.report.Faults = append(f.report.Faults, Fault{name, fmt.Sprintf(format, args...), slices.Contains(cautions, name), fixesOf(name)})
}
