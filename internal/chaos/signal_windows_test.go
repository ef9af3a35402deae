package chaos

import "syscall"

// There is no way to stop a process, nor to ask it to end: what needs that is skipped.
const halt, goOn = syscall.SIGKILL, syscall.SIGKILL
