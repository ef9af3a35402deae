package need

import (
	"os"
	"syscall"
)

// roomInMemory is what the files of one package take, four times.
const roomInMemory = 1 << 30

// memory returns a directory in memory that has room, or nothing.
func memory() string {
	const shared = "/dev/shm"
	var fs syscall.Statfs_t
	if syscall.Statfs(shared, &fs) != nil || fs.Type != 0x01021994 || fs.Bavail*uint64(fs.Bsize) < roomInMemory { // of tmpfs
		return ""
	}
	probe, err := os.MkdirTemp(shared, "chime")
	if err != nil || os.Remove(probe) != nil {
		return ""
	}
	return shared
}
