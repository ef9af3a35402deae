package wire

// Ref is a join_ref or a ref: a string the client chose, or null, which is
// the zero value.
type Ref struct {
	text string
	set  bool
}

// RefOf returns the ref with the text s.
func RefOf(s string) Ref { return Ref{s, true} }

// Null reports whether r is null.
func (r Ref) Null() bool { return !r.set }

// String returns the text of r, "" for null.
func (r Ref) String() string { return r.text }

func (r Ref) append(b []byte) []byte {
	if !r.set {
		return append(b, "null"...)
	}
	return AppendString(b, r.text)
}
