package nats

import "testing"

func TestAServerIsTooOld(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"1.4.1": true, "2.9.25": true, "2.11.12": true, "2.12.0": false, "2.12.0-RC.1": false, "2.15.2": false, "3.0.0": false, "10.1.0": false, "": false, "dev": false,
	} {
		if got := tooOld(version); got != want {
			t.Errorf("%q: got %t, want %t", version, got, want)
		}
	}
}
