//go:build unix

package redistest

import "syscall"

const stop, goOn = syscall.SIGSTOP, syscall.SIGCONT
