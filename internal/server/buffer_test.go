package server

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
)

// What has come of a body is what was sent, however it comes, and takes at most eight
// times as much memory, or 4 KiB: nothing is taken for what was announced.
func TestABodyTakesMemoryAsItComes(t *testing.T) {
	const most = 1 << 20
	for _, size := range []int{0, 1, 511, leastBuffer, leastBuffer + bufferEnd, 9 << 10, 256 << 10, 256<<10 + bufferEnd, 600 << 10, most} {
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		for name, r := range map[string]io.Reader{
			"at once": bytes.NewReader(sent), "in halves": iotest.HalfReader(bytes.NewReader(sent)), "with its end": iotest.DataErrReader(bytes.NewReader(sent)),
		} {
			var all bodies
			b := all.bound(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", r))
			b.r.ContentLength = -1
			got, err := b.read(most)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes %s: got %d and error %v, want what was sent", size, name, len(got), err)
			}
			if n := len(b.buf.bytes); n > max(bufferGrowth*(size+bufferEnd), leastBuffer+bufferEnd) {
				t.Errorf("%d bytes %s: %d are taken", size, name, n)
			}
			b.done()
		}
	}
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	for _, known := range []bool{true, false} {
		var all bodies
		b := all.bound(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 1001))))
		if !known {
			b.r.ContentLength = -1
		}
		if got, err := b.read(1000); !errors.Is(err, errTooMuch) {
			t.Errorf("1001 bytes where 1000 may come, announced %t: got %d and error %v, want errTooMuch", known, len(got), err)
		}
		b.done()
	}
}
