package need

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Namespaces returns how a test starts a program that is root of a network of its
// own, which ends with the program. It needs ip, and that the system permits it:
// many containers do not, and where .ci/run has found that it sets
// CHIME_NO_NAMESPACES, with which the test is skipped under CHIME_TEST_ALL too.
func Namespaces(t testing.TB) *syscall.SysProcAttr {
	t.Helper()
	Unless(t, "CHIME_NO_NAMESPACES", "network namespaces")
	ip := Program(t, "ip")
	user := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
	why := ""
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: user(os.Getuid()), GidMappings: user(os.Getgid())},
		{Cloneflags: syscall.CLONE_NEWNET}, // root, where there are no namespaces of users
	} {
		attr.Pdeathsig = syscall.SIGKILL
		cmd := exec.Command(ip, "link", "set", "lo", "up")
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		if err == nil {
			return attr
		}
		why = fmt.Sprintf("%v %s", err, out)
	}
	missing(t, "needs network namespaces, which the system does not permit: "+why)
	return nil
}
