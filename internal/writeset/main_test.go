package writeset

import (
	"flag"
	"os"
	"testing"
)

// TestMain asks for more histories than rapid's 100: they are small, and the interesting ones rare.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
