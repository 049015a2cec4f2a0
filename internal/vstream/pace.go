package vstream

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"braid/internal/binlog"
	"braid/internal/sqlconn"
)

// A copy takes from a server what its users need as well: processor, disk, and, where both are one machine, what the target needs. So the
// source's commits are counted, and reads are held back until those who write keep most of the rate that they have while nothing is read.
//
// That rate is found by probing: reads stand still until the commits do not become more, at the beginning and every so often as long as they hold somebody up. Between
// probes the pace of reads, in bytes a second, is moved until the commits are where they should be: an integral controller, slow enough for
// the chunks that are still on their way. Nothing is held back where hardly anybody writes, and never below a part of what would be read
// otherwise: a load that ends by itself looks like one that is held up until the next probe.
//
// What is counted are GTIDs, in the set that the server has executed, so neither the stream's lag nor anybody's clock matters.

const (
	paceTick   = 100 * time.Millisecond
	paceProbe  = 300 * time.Millisecond  // over which a probe counts
	paceProbes = 1800 * time.Millisecond // that a probe takes at most: chunks that were read are still written in the meantime
	paceFirst  = 400 * time.Millisecond  // of reading, before the first probe
	paceAgain  = 15 * time.Second        // between two probes

	// paceCommits a second are too few to be counted in the time of a probe.
	paceCommits = 100
	// paceKeeps is the share of their rate that writers are to keep.
	paceKeeps = 0.65
	// paceLeast is the part of the pace without holding back that remains.
	paceLeast = 1. / 8
	// paceFloor is what may be read in any case, in bytes a second: less takes nothing from anybody that could be measured.
	paceFloor = 2 << 20
	// paceGain is by how much the pace follows a tick's deviation. What is read now is on the target a second later, so that more would swing.
	paceGain = 0.1
	// paceSmooth is the weight of a tick in what is smoothed.
	paceSmooth = 0.2
	paceSlow   = 0.05
)

// pace is how fast chunks are read. It is a pure state machine: reads and counts of commits are told to it.
type pace struct {
	next     time.Time // no read begins before it
	rate     float64   // bytes a second; 0: nothing is held back
	most     float64   // bytes a second that were read while nothing was held back, smoothed
	base     float64   // commits a second while nothing was read; 0: not known
	kept     float64   // of base, smoothed
	expected int64     // bytes of a chunk

	begun   time.Time // of the reading
	last    count     // at the last tick
	bytes   int64     // that were read since
	ticks   int       // while no probe was under way
	speed   float64   // bytes a second, smoothed over seconds
	probing time.Time // when the probe began; zero: none is under way
	from    count     // where it counts from
	before  float64   // commits a second that it has counted before that
	steady  int       // how often they were no more
	probed  time.Time
}

// count is how many transactions a server has committed.
type count struct {
	at      time.Time
	commits uint64
}

// since is the rate from an earlier count to this one.
func (c count) since(o count) float64 {
	if c.commits < o.commits {
		return 0 // another server, or one that has lost its history
	}
	return float64(c.commits-o.commits) / c.at.Sub(o.at).Seconds()
}

// begin notes that a read begins.
func (p *pace) begin(now time.Time) { p.charge(now, p.expected) }

// end notes that it has ended.
func (p *pace) end(now time.Time, bytes int64) {
	p.bytes += bytes
	p.charge(now, bytes-p.expected)
	p.expected = bytes
}

func (p *pace) charge(now time.Time, bytes int64) {
	if p.rate > 0 {
		p.next = later(p.next, now.Add(-paceTick)).Add(time.Duration(float64(bytes) / p.rate * float64(time.Second)))
	}
}

// until is when the next read may begin.
func (p *pace) until() time.Time {
	if !p.probing.IsZero() {
		return p.last.at.Add(2 * paceTick) // look again
	}
	return p.next
}

// tick takes a count of the source's commits.
func (p *pace) tick(c count) {
	before := p.last
	p.last = c
	if before.at.IsZero() {
		p.begun = c.at
		return
	}
	commits, bytes := c.since(before), float64(p.bytes)/c.at.Sub(before.at).Seconds()
	p.bytes = 0
	switch {
	case !p.probing.IsZero():
		p.probe(c)
		return
	case p.base >= paceCommits && commits > p.base:
		p.base += paceSmooth * (commits - p.base)
	}
	p.ticks++
	p.speed += max(paceSlow, 1/float64(p.ticks)) * (bytes - p.speed)
	if p.rate == 0 {
		p.most = max(p.most, p.speed)
	}
	if p.base > 0 {
		p.kept += paceSmooth * (min(commits/p.base, 1) - p.kept)
	}
	switch {
	case p.due(c.at, commits):
		p.probing, p.from = c.at, count{}
	case p.base >= paceCommits:
		p.steer()
	default:
		p.rate = 0
	}
}

// due says that it is time for a probe.
func (p *pace) due(now time.Time, commits float64) bool {
	if now.Sub(p.begun) < paceFirst || now.Sub(p.probed) < paceAgain {
		return false
	}
	if p.base < paceCommits {
		return commits >= paceCommits
	}
	return p.kept < 0.9
}

// probe counts commits while nothing is read, until they do not become more.
func (p *pace) probe(c count) {
	if p.from.at.IsZero() {
		p.from, p.before, p.steady = c, 0, 0
	}
	if c.at.Sub(p.from.at) < paceProbe {
		return
	}
	commits := c.since(p.from)
	if commits > 1.05*p.before {
		p.steady = 0
	} else {
		p.steady++
	}
	p.from, p.before = c, max(commits, p.before)
	if p.steady < 2 && c.at.Sub(p.probing) < paceProbes {
		return
	}
	if p.base == 0 {
		p.kept = 1
	}
	p.base = max(p.before, 1)
	p.probing, p.probed = time.Time{}, c.at
}

// steer moves the pace to where writers keep what they should.
func (p *pace) steer() {
	if p.rate == 0 {
		if p.kept < paceKeeps {
			p.rate = p.speed
		}
		return
	}
	p.rate *= 1 + paceGain*max(min((p.kept-paceKeeps)/paceKeeps, 0.5), -1)
	p.rate = max(min(p.rate, 1.25*p.speed), p.most*paceLeast, paceFloor)
	if p.rate > max(p.most, paceFloor) {
		p.rate = 0
	}
}

// pacer counts the commits of a source while chunks are read from it, for the pace of all who do.
type pacer struct {
	ctx context.Context // ends with the source
	db  sqlconn.Config
	log *slog.Logger
	now func() time.Time

	done sync.WaitGroup
	mu   struct {
		sync.Mutex
		pace    pace
		ticking bool
		read    time.Time // when a read began or ended last
		failed  time.Time // when commits could not be counted
	}
}

// paceIdle is how long after the last read commits are still counted.
const paceIdle = 10 * time.Second

func newPacer(ctx context.Context, db sqlconn.Config, log *slog.Logger) *pacer {
	return &pacer{ctx: ctx, db: db, log: log, now: time.Now}
}

// begin notes that a read begins.
func (p *pacer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.read = p.now()
	p.mu.pace.begin(p.mu.read)
	if !p.mu.ticking && p.ctx.Err() == nil && p.mu.read.Sub(p.mu.failed) > paceAgain {
		p.mu.ticking, p.mu.pace = true, pace{expected: p.mu.pace.expected}
		p.done.Go(p.run)
	}
}

// end notes that it has ended, and reports whether reads are held back.
func (p *pacer) end(bytes int64) (held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.read = p.now()
	p.mu.pace.end(p.mu.read, bytes)
	return p.mu.pace.rate > 0
}

// until is when the next read may begin.
func (p *pacer) until() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.pace.until()
}

// run counts until nothing is read any more. What cannot be counted holds nothing back.
func (p *pacer) run() {
	conn, err := sqlconn.Dial(p.ctx, p.db)
	if err == nil {
		defer conn.Close()
		err = p.count(conn)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.ticking, p.mu.pace = false, pace{expected: p.mu.pace.expected}
	if err != nil && p.ctx.Err() == nil {
		p.mu.failed = p.now()
		p.log.Info("the source's commits cannot be counted: reads are not held back for those who write", "error", err)
	}
}

func (p *pacer) count(conn *sqlconn.Conn) error {
	ticker := time.NewTicker(paceTick)
	defer ticker.Stop()
	for held := false; ; {
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
			return nil
		}
		executed, _, err := binlog.Executed(p.ctx, conn)
		if err != nil {
			return err
		}
		p.mu.Lock()
		now := p.now()
		p.mu.pace.tick(count{at: now, commits: executed.Count()})
		state, idle := p.mu.pace, now.Sub(p.mu.read) > paceIdle && p.mu.pace.probing.IsZero()
		p.mu.Unlock()
		if idle {
			return nil
		}
		if held != (state.rate > 0) {
			held = !held
			p.log.Info("pace of the copy", "held_back", held, "commits_per_second", math.Round(state.base), "kept", math.Round(state.kept*100)/100)
		}
		p.log.Debug("pace", "rate", state.rate/1e6, "speed", state.speed/1e6, "base", state.base, "kept", state.kept, "most", state.most/1e6, "probing", !state.probing.IsZero())
	}
}
