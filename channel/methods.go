package channel

import (
	"fmt"
	"reflect"
	"strings"
)

// handlerMethods are the methods that a channel may have for us to call.
var handlerMethods = reflect.TypeFor[MemberHandler]()

// checkMethods names a method that was to be a handler and is none, which nothing would
// call: a type that embeds AnyoneMayJoin compiles with a HandleJoind, and lets everybody
// in. It has the signature of a handler and another name, or nearly the name of one.
func checkMethods(t reflect.Type) error {
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t) // whose methods are those of t too
	}
	for m := range t.Methods() {
		if h, ok := handlerMethods.MethodByName(m.Name); ok {
			if !sameSignature(m.Type, h.Type) { // only HandleMember can compile with another one
				return fmt.Errorf("%s is %s: want %s", m.Name, signature(m.Type, 1), signature(h.Type, 0))
			}
			continue
		}
		for h := range handlerMethods.Methods() {
			if sameSignature(m.Type, h.Type) && h.Name != "HandleMember" { // whose signature is that of much
				return fmt.Errorf("%s has the signature of %s: want that name, or an unexported one", m.Name, h.Name)
			}
		}
		for h := range handlerMethods.Methods() {
			if distance(m.Name, h.Name) <= 2 {
				return fmt.Errorf("%s has nearly the name of %s: want that name, or an unexported one", m.Name, h.Name)
			}
		}
	}
	return nil
}

// sameSignature compares a method of a type, whose first parameter is its
// receiver, with one of an interface.
func sameSignature(method, handler reflect.Type) bool {
	return signature(method, 1) == signature(handler, 0)
}

// signature is that of a method, without its first parameters, as it is written. Two
// types that are written alike count as one: such a method is a mistake as well.
func signature(method reflect.Type, skip int) string {
	var in, out []string
	for i := skip; i < method.NumIn(); i++ {
		in = append(in, method.In(i).String())
	}
	for t := range method.Outs() {
		out = append(out, t.String())
	}
	text := "func(" + strings.Join(in, ", ") + ")"
	switch len(out) {
	case 0:
	case 1:
		text += " " + out[0]
	default:
		text += " (" + strings.Join(out, ", ") + ")"
	}
	return text
}

// distance is how many letters have to be added, taken away or changed to make b of a,
// whatever their case (Levenshtein).
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
