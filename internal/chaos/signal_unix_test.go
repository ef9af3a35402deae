//go:build unix

package chaos

import (
	"os"
	"syscall"
)

// halt and goOn stop a process, and have it go on.
var halt, goOn os.Signal = syscall.SIGSTOP, syscall.SIGCONT
