package forward

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	_ io.ReaderFrom = (*upgraded)(nil) // or io.Copy has 32 KiB for each direction
	_ io.WriterTo   = (*upgraded)(nil)
)

// pieces gives what is read in pieces of some sizes.
type pieces struct {
	io.Reader
	sizes []int
}

func (p *pieces) Read(b []byte) (int, error) {
	size := p.sizes[0]
	p.sizes = append(p.sizes[1:], size)
	return p.Reader.Read(b[:min(size, len(b))])
}

func TestWhateverComesIsCarriedWhole(t *testing.T) {
	sent := make([]byte, 300<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	torn := errors.New("torn")
	for _, size := range []int{0, 1, smallBuffer - 1, smallBuffer, smallBuffer + 1, largeBuffer, smallBuffer + largeBuffer, smallBuffer + largeBuffer + 1, len(sent)} {
		for _, sizes := range [][]int{{len(sent)}, {1, smallBuffer, largeBuffer}, {smallBuffer, smallBuffer - 1, 7}} {
			for _, end := range []error{nil, torn} {
				src := io.Reader(bytes.NewReader(sent[:size]))
				if end != nil {
					src = io.MultiReader(src, iotest.ErrReader(end))
				}
				var got bytes.Buffer
				n, err := carry(&got, &pieces{src, sizes})
				if !bytes.Equal(got.Bytes(), sent[:size]) || n != int64(size) || !errors.Is(err, end) {
					t.Errorf("%d bytes by %d: got %d, %d of them, and %v, want all and %v", size, sizes, n, got.Len(), err, end)
				}
			}
		}
	}
	if _, err := carry(failing{torn}, bytes.NewReader(sent)); !errors.Is(err, torn) {
		t.Errorf("got %v, want that nobody takes it", err)
	}
}

// failing takes what fits into a small buffer, and then nothing.
type failing struct{ err error }

// Write implements io.Writer.
func (f failing) Write(p []byte) (int, error) {
	if len(p) > smallBuffer {
		return 0, f.err
	}
	return len(p), nil
}

// A page of the history comes whole, and an answer that breaks off is not taken to be whole.
func TestALargeAnswerIsForwarded(t *testing.T) {
	page := strings.Repeat("0123456789abcdef", 20<<10)
	p := newPair(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, page)
		if r.Header.Get("Torn") != "" {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	for _, torn := range []string{"", "yes"} {
		resp := p.request(t, "GET", "node-002", "", "Torn", torn)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != page || (err != nil) != (torn != "") {
			t.Errorf("torn: %q: got %d bytes of %d, and %v", torn, len(body), len(page), err)
		}
	}
}
