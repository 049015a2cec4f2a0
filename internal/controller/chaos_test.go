package controller

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/workflow"
)

// TestChaos runs three real controllers over gRPC while calls fail, answers are lost, terms end early and the topology goes
// away. The property test knows every interleaving of one action at a time; this one has real goroutines and real contexts.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := &lockedRand{r: rand.New(rand.NewPCG(seed, 0))}
	e, first := moved(t)
	nodes := []*node{first, e.controller("two"), e.controller("three")}
	fail := func(context.Context, string, workflow.Shard) error {
		if rng.n(20) == 0 {
			return errs.New(errs.PeerUnreachable, nil, "injected")
		}
		return nil
	}
	e.cluster.setHooks(fail, fail)
	ctx, cancel := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { e.trouble(ctx, rng, nodes) })
	want := e.rows("orders", e.shard("commerce", "0"))
	var done, undone int
	for w := e.patient(); done < 12; {
		verb := e.switchTo
		if w.Direction == "reverse" {
			verb = e.reverse
		}
		key := rng.n(16)
		want[key] = rng.n(1000)
		e.writeWhereItServes(w, key, want[key])
		e.control = nodes[rng.n(len(nodes))].api
		if err := verb(e.ctx, &controlpb.SwitchTrafficRequest{Name: "m"}); err != nil {
			continue // refused: a stream is not running yet, or a call failed
		}
		w = e.patient()
		switch w.LastSwitch.GetResult() {
		case "done":
			done++
		case "undone":
			undone++
		}
	}
	cancel()
	wg.Wait()
	e.store.SetDown(false)
	e.cluster.setHooks(nil, nil)
	t.Logf("%d switches were done, %d undone", done, undone)
	w := e.patient()
	require.Empty(t, e.routing().Fences)
	source, left, right := e.shard("commerce", "0"), e.shard("customer", "-80"), e.shard("customer", "80-")
	to := left
	if w.Direction == "reverse" {
		to = source
	}
	require.Eventually(t, func() bool { // the streams that are to run do, and no others
		e.cluster.mu.Lock()
		defer e.cluster.mu.Unlock()
		for _, s := range []*simShard{source, left, right} {
			for _, st := range s.streams {
				if active := s == to || to == left && s == right; active != (st.state == workflow.StreamRunning) {
					return false
				}
			}
		}
		return len(to.streams) > 0
	}, wait, tick)
	require.Eventually(t, func() bool { return maps.Equal(want, e.rows("orders", source)) }, wait, tick)
	require.Eventually(t, func() bool { return maps.Equal(want, e.rows("orders", left, right)) }, wait, tick)
}

// writeWhereItServes is a write while nothing is under way.
func (e *env) writeWhereItServes(w *controlpb.Workflow, key, value int) {
	e.cluster.mu.Lock()
	defer e.cluster.mu.Unlock()
	s := e.shard("commerce", "0")
	if w.Direction == "reverse" {
		s = e.shard("customer", "80-")
		if holds("-80", key) {
			s = e.shard("customer", "-80")
		}
	}
	s.write(simTx{table: "orders", key: key, value: value})
}

// trouble ends terms and takes the topology away, now and then.
func (e *env) trouble(ctx context.Context, rng *lockedRand, nodes []*node) {
	for ctx.Err() == nil {
		pause(time.Duration(rng.n(60)) * time.Millisecond)
		if rng.n(3) == 0 {
			e.store.SetDown(true)
			pause(time.Duration(rng.n(20)) * time.Millisecond)
			e.store.SetDown(false)
			continue
		}
		nodes[rng.n(len(nodes))].client.Expire()
	}
}

// patient waits until nothing is under way, through calls that fail.
func (e *env) patient() *controlpb.Workflow {
	var w *controlpb.Workflow
	require.Eventually(e.t, func() bool {
		var err error
		w, err = e.control.ShowWorkflow(e.ctx, &controlpb.ShowWorkflowRequest{Name: "m"})
		return err == nil && !w.Busy
	}, time.Minute, tick, "%v", &w)
	return w
}

type lockedRand struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (l *lockedRand) n(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(n)
}
