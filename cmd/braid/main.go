package main

import (
	"os"
	"runtime"

	"braid/internal/cli"
)

// version is set by the linker.
var version = "dev"

// headroom is how much is allocated between two garbage collections at least. A stream keeps little and allocates much: with the usual
// rule, a collection whenever the heap has doubled, a sixth of the processor time would be the collector's.
const headroom = 48 << 20

func main() {
	ballast := make([]byte, headroom) // counts for the collector's rule; never touched, it has no memory
	code := cli.Main(version, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	runtime.KeepAlive(ballast)
	os.Exit(code)
}
