package nonblock

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

func TestAPeerThatMakesNoRoomIsGivenUp(t *testing.T) {
	here, _ := pair(t)
	if !BoundUnacked(here, time.Second) {
		t.Fatal("a TCP connection has no such bound")
	}
	fill(t, here)
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("got %v, want %v", err, syscall.ETIMEDOUT)
	}
}
