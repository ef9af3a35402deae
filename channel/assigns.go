package channel

import "sync"

// assigns are the values that a channel keeps with a socket.
type assigns struct {
	mu     sync.Mutex // guards values
	values map[string]any
}

func (a *assigns) set(key string, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.values == nil {
		a.values = map[string]any{}
	}
	a.values[key] = value
}

func (a *assigns) get(key string) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.values[key]
}
