//go:build !linux

package need

// memory returns nothing.
func memory() string { return "" }
