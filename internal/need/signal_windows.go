package need

import "syscall"

// There are no such signals on Windows, and no engine that would be stopped.
const Halt, GoOn = syscall.SIGKILL, syscall.SIGKILL
