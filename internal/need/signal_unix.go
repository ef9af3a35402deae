//go:build unix

package need

import "syscall"

// Halt has a process do nothing until GoOn.
const Halt, GoOn = syscall.SIGSTOP, syscall.SIGCONT
