package chaos

import "os"

// There is no way to stop a process: it is killed instead.
var halt, goOn os.Signal
