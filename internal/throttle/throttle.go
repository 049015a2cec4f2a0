package throttle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"braid/internal/sqlconn"
)

const (
	period   = time.Second     // between readings
	patience = 3 * time.Second // of one reading
	stale    = 3 * patience    // older readings count as bad
)

// Throttle reads figures and says whether a copy may go on.
type Throttle struct {
	probes []Probe
	stop   context.CancelFunc
	done   sync.WaitGroup
	now    func() time.Time
	mu     struct {
		sync.Mutex
		reason string
		at     time.Time // of the readings; zero: none yet
	}
}

// Start reads the probes until Stop. Without any, nothing pauses and no goroutine runs.
func Start(ctx context.Context, probes []Probe) *Throttle {
	t := &Throttle{probes: probes, now: time.Now}
	ctx, t.stop = context.WithCancel(ctx)
	if len(probes) > 0 {
		t.done.Go(func() { t.run(ctx) })
	}
	return t
}

// Stop ends the reading and closes the probes. It may be called more than once.
func (t *Throttle) Stop() {
	t.stop()
	t.done.Wait()
}

// Reason is why a copy has to pause now; "" means that it need not.
func (t *Throttle) Reason() string {
	if len(t.probes) == 0 {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.mu.at.IsZero():
		return "no figures have been read yet"
	case t.now().Sub(t.mu.at) > stale:
		return fmt.Sprintf("no figures have been read for %s", t.now().Sub(t.mu.at).Round(time.Second))
	}
	return t.mu.reason
}

func (t *Throttle) run(ctx context.Context) {
	defer func() {
		for _, p := range t.probes {
			p.Close()
		}
	}()
	tick := time.NewTicker(period)
	defer tick.Stop()
	var policy Policy
	for {
		readings := t.read(ctx)
		if ctx.Err() != nil {
			return
		}
		reason := policy.Step(readings)
		t.mu.Lock()
		t.mu.reason, t.mu.at = reason, t.now()
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// read asks all probes at once.
func (t *Throttle) read(ctx context.Context) []Reading {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	readings := make([]Reading, len(t.probes))
	var all sync.WaitGroup
	for i, p := range t.probes {
		all.Go(func() {
			readings[i].Figure = p.Figure()
			readings[i].Value, readings[i].Err = p.Read(ctx)
		})
	}
	all.Wait()
	return readings
}

// Usable returns the probes that can be read now, and closes the others, for bounds that nobody has asked for: an account without the privilege must
// not stop a copy. why has the errors.
func Usable(ctx context.Context, probes []Probe) (usable []Probe, why []error) {
	for _, p := range probes {
		if _, err := p.Read(ctx); err != nil {
			f := p.Figure()
			why = append(why, fmt.Errorf("%s of the %s: %w", f.Name, f.Where, err))
			p.Close()
			continue
		}
		usable = append(usable, p)
	}
	return usable, why
}

// session is a connection that a probe keeps and makes again.
type session struct {
	cfg  sqlconn.Config
	conn *sqlconn.Conn
}

func (s *session) query(ctx context.Context, sql string) (*sqlconn.Result, error) {
	if s.conn == nil || s.conn.Broken() {
		conn, err := sqlconn.Dial(ctx, s.cfg)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	return s.conn.Query(ctx, sql)
}

// Close ends the session.
func (s *session) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
}
