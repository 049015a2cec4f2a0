package gate

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"), // begun when the parser's package is loaded
		goleak.IgnoreTopFunction("braid/internal/process.init.func1.1"))            // starts the mysqlds of the tests
}
