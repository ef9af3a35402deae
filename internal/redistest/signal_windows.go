package redistest

import "syscall"

// There is no redis-server for Windows, and nothing to be stopped.
const stop, goOn = syscall.SIGKILL, syscall.SIGKILL
