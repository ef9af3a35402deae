package doctor

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// sizes are those of headers that are tried, in KiB. A token is rarely larger.
var sizes = []int{2, 4, 7, 8, 15, 31}

// headers finds out how large a header may be.
func (x *exam) headers() {
	client := x.client(false)
	passes := 0
	for _, size := range sizes {
		h := x.ask(client, http.MethodGet, "/", "", "Cookie", "chime-doctor="+strings.Repeat("x", size<<10))
		if h.status != http.StatusOK {
			x.note("headers", "up to", "%d KiB; with %d KiB: %s", passes, size, h)
			x.fault(headerLimit, "a header of %d KiB is answered with %s, one of %d KiB passes: a larger token or cookie keeps clients out", size, h, passes)
			return
		}
		passes = size
	}
	x.note("headers", "up to", "%d KiB at least", passes)
}

// crowd is more connections than a browser has for one origin.
const crowd = 7

// connections finds out whether so many streams may be open at once.
func (x *exam) connections() {
	var all, opening sync.WaitGroup
	var n atomic.Int64
	x.wait("%d streams at once", crowd)
	opening.Add(crowd)
	for range crowd {
		all.Go(func() {
			c, _ := x.openStream(patience)
			if c != nil {
				defer c.abort()
				n.Add(1)
			}
			opening.Done()
			opening.Wait() // none ends before the last was tried
		})
	}
	all.Wait()
	x.note("connections", "at once", "%d of %d streams", n.Load(), crowd)
	if n.Load() < crowd {
		x.fault(fewConnections, "of %d streams only %d are open at once: others wait", crowd, n.Load())
	}
}
