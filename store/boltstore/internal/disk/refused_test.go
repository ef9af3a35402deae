package disk

import (
	"io/fs"
	"syscall"
	"testing"
)

// Only a write that was refused leaves the file as it was. What a sync says of room is no
// refusal: the system may take for written what it could not write.
func TestWhichErrorsAreWritesThatWereRefused(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.EDQUOT}, true},
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.EIO}, false},
		{&fs.PathError{Op: "sync", Path: "f", Err: syscall.ENOSPC}, false},
		{&fs.PathError{Op: "truncate", Path: "f", Err: syscall.ENOSPC}, false},
		{syscall.ENOSPC, false}, // as Fdatasync has it
		{nil, false},
	} {
		if got := refusedWrite(test.err); got != test.want {
			t.Errorf("%v: got %t, want %t", test.err, got, test.want)
		}
	}
}
