package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"braid/internal/topo"
	"braid/internal/topo/memory"
	"braid/internal/topo/topotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	topotest.Run(t, func(t *testing.T) topotest.Harness {
		s := memory.New()
		t.Cleanup(func() { s.Close() })
		return topotest.Harness{
			Open:    func(*testing.T) topo.Store { return s.Client() },
			Cut:     func() { s.SetDown(true) },
			Heal:    func() { s.SetDown(false) },
			Outlast: func(c topo.Store) { c.(*memory.Store).Expire() },
			Kill:    func(c topo.Store) { c.(*memory.Store).Kill() },
		}
	})
}
