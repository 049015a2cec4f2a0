package vstream

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unpaced holds nothing back.
type unpaced struct{}

func (unpaced) until() time.Time { return time.Time{} }
func (unpaced) begin()           {}

// paceModel is a server whose writers lose by what is read: at full speed of the readers they keep a part of their rate. What is read burdens it a while later.
type paceModel struct {
	pace
	now     time.Time
	alone   float64 // commits a second while nothing is read
	keeps   float64 // of it at full speed
	full    float64 // bytes a second that readers make
	chunk   int64
	busy    time.Time // until then a chunk is being read
	recent  []float64 // bytes read in each of the last ticks
	commits float64

	probes  int
	counted float64
	read    float64
}

func newPaceModel() *paceModel {
	return &paceModel{now: time.Unix(1_700_000_000, 0), alone: 5000, keeps: 0.4, full: 24e6, chunk: 2 << 20, recent: make([]float64, 8)}
}

// run lets time pass, and returns which part of their rate the writers kept, and of theirs the readers.
func (m *paceModel) run(d time.Duration) (writers, readers float64) {
	m.counted, m.read = 0, 0
	for end := m.now.Add(d); m.now.Before(end); {
		bytes := 0.
		for step := time.Duration(0); step < paceTick; step += 10 * time.Millisecond {
			m.now = m.now.Add(10 * time.Millisecond)
			if m.now.Before(m.busy) || m.now.Before(m.until()) {
				continue
			}
			m.begin(m.now)
			m.busy = m.now.Add(time.Duration(float64(m.chunk) / m.full * float64(time.Second)))
			m.end(m.now, m.chunk)
			bytes += float64(m.chunk)
		}
		m.recent = append(m.recent[1:], bytes)
		sum := 0.
		for _, b := range m.recent {
			sum += b
		}
		load := min(sum/float64(len(m.recent))/(m.full*paceTick.Seconds()), 1)
		made := m.alone * (1 - (1-m.keeps)*load) * paceTick.Seconds()
		m.commits += made
		m.counted += made
		m.read += bytes
		was := m.probing.IsZero()
		m.tick(count{m.now, uint64(m.commits)})
		if was && !m.probing.IsZero() {
			m.probes++
		}
	}
	return m.counted / (m.alone * d.Seconds()), m.read / (m.full * d.Seconds())
}

func TestPaceKeepsTheRateOfWriters(t *testing.T) {
	for _, keeps := range []float64{0.1, 0.3, 0.4, 0.5, 0.6} {
		m := newPaceModel()
		m.keeps = keeps
		m.run(5 * time.Second)
		writers, readers := m.run(30 * time.Second)
		require.InDelta(t, paceKeeps, writers, 0.06, keeps)
		require.InDelta(t, (1-paceKeeps)/(1-keeps), readers, 0.12, keeps)
	}
}

func TestPaceHoldsNothingBackWithoutNeed(t *testing.T) {
	for name, c := range map[string]struct {
		alone, keeps float64
		probes       int
	}{
		"nobody writes":            {0, 0.4, 0},
		"hardly anybody writes":    {50, 0.4, 0},
		"who writes loses nothing": {500, 1, 1},
		"or little":                {5000, 0.93, 1},
	} {
		m := newPaceModel()
		m.alone, m.keeps = c.alone, c.keeps
		_, readers := m.run(time.Minute)
		require.Greater(t, readers, 0.95, name)
		require.Equal(t, c.probes, m.probes, name)
	}
}

// A load that ends by itself is not waited for: reads go on at an eighth at least, and at full speed from the next probe on.
func TestPaceAfterTheLoad(t *testing.T) {
	m := newPaceModel()
	m.run(20 * time.Second)
	m.alone = 20
	_, readers := m.run(paceAgain)
	require.Greater(t, readers, 0.8*paceLeast)
	m.run(5 * time.Second)
	_, readers = m.run(10 * time.Second)
	require.Greater(t, readers, 0.95)
}

// A load that grows, or comes, is kept up with.
func TestPaceOfALoadThatGrows(t *testing.T) {
	m := newPaceModel()
	m.alone = 0
	m.run(10 * time.Second)
	m.alone = 5000
	m.run(10 * time.Second)
	writers, _ := m.run(20 * time.Second)
	require.InDelta(t, paceKeeps, writers, 0.06)
}

// Small chunks, which are read slowly for another reason, are not held back at all.
func TestPaceOfSlowReads(t *testing.T) {
	m := newPaceModel()
	m.full, m.chunk, m.keeps = 204.8e3, 8<<10, 0.3
	m.run(5 * time.Second)
	_, readers := m.run(30 * time.Second)
	require.Greater(t, readers, 0.8)
}

func TestPaceOfAServerThatStartsAnew(t *testing.T) {
	m := newPaceModel()
	m.run(10 * time.Second)
	m.commits = 0 // another server answers
	m.run(paceAgain + time.Second)
	writers, _ := m.run(20 * time.Second)
	require.InDelta(t, paceKeeps, writers, 0.06)
	require.False(t, math.IsNaN(m.rate))
}
