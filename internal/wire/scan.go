package wire

// maxDepth is how deep arrays and objects may nest, as in encoding/json.
const maxDepth = 10_000

// scan reports whether text is JSON, and finds the first elements of an array
// on the way; n is how many there are. It takes exactly what json.Valid takes, in
// a quarter of the time of that and a second pass for the elements.
func scan(text []byte, elements *[5][]byte) (n int, ok bool) {
	n, end := value(text, space(text, 0), elements)
	return n, end >= 0 && space(text, end) == len(text)
}

// value is scan for the one value that begins at i. It returns the index behind it, or
// -1 if it is none. Elements may be nil.
func value(text []byte, i int, elements *[5][]byte) (n, end int) {
	// Each open array or object, as its bracket; few frames need more.
	stack := make([]byte, 0, 32)
	start := 0
	for i >= 0 && i < len(text) { // a value begins at i
		if len(stack) == 1 {
			start = i
		}
		switch c := text[i]; c {
		case '[', '{':
			if len(stack) == maxDepth {
				return 0, -1
			}
			stack = append(stack, c)
			i = space(text, i+1)
			if i == len(text) || text[i] != closing(c) {
				if c == '{' {
					i = key(text, i)
				}
				continue
			}
			stack = stack[:len(stack)-1]
			i++
		case '"':
			i = quoted(text, i)
		case 't':
			i = literal(text, i, "true")
		case 'f':
			i = literal(text, i, "false")
		case 'n':
			i = literal(text, i, "null")
		default:
			i = number(text, i)
		}
		for { // a value ends before i
			if i < 0 {
				return 0, -1
			}
			if len(stack) == 1 && elements != nil && n < len(elements) {
				elements[n] = text[start:i]
				n++
			}
			if len(stack) == 0 {
				return n, i
			}
			i = space(text, i)
			if i == len(text) {
				return 0, -1
			}
			open := stack[len(stack)-1]
			if text[i] == ',' {
				i = space(text, i+1)
				if open == '{' {
					i = key(text, i)
				}
				break
			}
			if text[i] != closing(open) {
				return 0, -1
			}
			stack = stack[:len(stack)-1]
			i++
		}
	}
	return 0, -1
}

// closing returns the bracket that closes open. In ASCII it is the next but one.
func closing(open byte) byte { return open + 2 }

// What follows takes the index at which something begins and returns the one
// behind it, or -1 if it is something else.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// next takes what follows an element, of an array or an object that close closes: a
// comma, with the space around it, or its end.
func next(b []byte, i int, close byte) (_ int, more bool) {
	switch i = space(b, i); {
	case i == len(b):
		return -1, false
	case b[i] == ',':
		return space(b, i+1), true
	case b[i] == close:
		return i + 1, false
	}
	return -1, false
}

// key takes the key of an object, with the colon and the space around it.
func key(b []byte, i int) int {
	if i == len(b) || b[i] != '"' {
		return -1
	}
	if i = quoted(b, i); i < 0 {
		return -1
	}
	if i = space(b, i); i == len(b) || b[i] != ':' {
		return -1
	}
	return space(b, i+1)
}

// special are the bytes that do not stand for themselves in a string.
var special = func() (set [256]bool) {
	for c := range 0x20 {
		set[c] = true
	}
	set['"'], set['\\'] = true, true
	return set
}()

func quoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		c := b[i]
		if !special[c] {
			continue
		}
		switch c {
		case '"':
			return i + 1
		case '\\':
			if i = escape(b, i+1); i < 0 {
				return -1
			}
		default:
			return -1
		}
	}
	return -1
}

// escape takes what follows a backslash, and returns the index of its last byte.
func escape(b []byte, i int) int {
	if i == len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if i+4 >= len(b) {
			return -1
		}
		for _, c := range b[i+1 : i+5] {
			if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return -1
			}
		}
		return i + 4
	}
	return -1
}

func literal(b []byte, i int, want string) int {
	if end := i + len(want); end <= len(b) && string(b[i:end]) == want {
		return end
	}
	return -1
}

func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = digits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digits(b, i)
	}
	return i
}

// digits takes one digit or more.
func digits(b []byte, i int) int {
	start := i
	for i < len(b) && digit(b[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
