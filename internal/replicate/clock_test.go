package replicate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// commitAt makes the source stamp its transactions with a time that is off, as those have that come from a third server, whose clock is wrong.
func (w *world) commitAt(off time.Duration, sql string) {
	w.source.exec(fmt.Sprintf("SET SESSION original_commit_timestamp=%d", time.Now().Add(off).UnixMicro()), sql, "SET SESSION original_commit_timestamp=DEFAULT")
}

// Changes that come while the tables are copied are not held back: the copy's chunks stand behind them in the stream.
func TestDelayIsNotForTheCopy(t *testing.T) {
	w := newWorld(t)
	w.fill()
	stop := w.writer()
	r := w.start(func(c *Config) { c.Delay = time.Hour })
	r.running()
	last := stop()
	w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
	s := r.until("held back", func(s Status) bool { return s.BehindGTIDs > 0 && s.LagMS >= 0 })
	require.Equal(t, "Running", s.State, "it does what it is told, and is not lagging")
	require.NoError(t, r.stop())
	require.NoError(t, w.run(once))
	require.Equal(t, fmt.Sprint(last), w.target.one("SELECT COUNT(*) FROM "+w.db+".log"))
	w.equal(w.db+".item", w.db+".log", w.db2+".total")
}

// Clocks that are apart make neither a lag of hours nor a negative one, and no transaction is held back for longer than the delay.
func TestClocksApart(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE " + w.db + ".a (id int PRIMARY KEY)")
	r := w.start()
	r.running()
	for i, off := range []time.Duration{time.Hour, -time.Hour} {
		w.commitAt(off, fmt.Sprintf("INSERT INTO %s.a VALUES (%d)", w.db, i))
		r.catchUp()
		seen := time.Now()
		for range 5 { // an idle source: its heartbeats are what lag is made of
			s := r.until("looked at", func(s Status) bool { return s.Time.After(seen) })
			require.Equal(t, "Running", s.State, off)
			require.GreaterOrEqual(t, s.LagMS, int64(0), off)
			require.Less(t, s.LagMS, int64(5000), off)
			seen = s.Time
		}
	}
	require.NoError(t, r.stop())

	const delay = 2 * time.Second
	r = w.start(func(c *Config) { c.Delay = delay })
	r.running()
	for i, off := range []time.Duration{time.Hour, -time.Hour} {
		began := time.Now()
		for n := range 5 {
			w.commitAt(off, fmt.Sprintf("INSERT INTO %s.a VALUES (%d)", w.db, 10*(i+1)+n))
		}
		r.catchUp()
		require.GreaterOrEqual(t, time.Since(began), delay, off)
		require.Less(t, time.Since(began), 3*delay, "each is held back for as long, not one after the other")
	}
	w.equal(w.db + ".a")
	require.NoError(t, r.stop())
}
