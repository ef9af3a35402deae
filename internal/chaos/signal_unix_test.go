//go:build unix

package chaos

import "syscall"

// halt and goOn stop a process, and have it go on.
const halt, goOn = syscall.SIGSTOP, syscall.SIGCONT
