package vreplication

import (
	"fmt"
	"strings"
	"time"

	tabletpb "braid/api/tablet"
)

// CopyProgress is how a stream's copy goes on.
type CopyProgress struct {
	Rows, Total int64 // Total is an estimate
	Bytes       int64 // of cells
	Tables      int   // of all
	TablesDone  int
	RowsPerSec  float64 // of the last seconds
	BytesPerSec float64
	ETA         time.Duration // 0: unknown
	Bottleneck  string        // in words; "" is not known yet
	Paused      string        // why no chunk is asked for; "" is not paused
	Writer      string        // how rows are written
}

// String is one line for people.
func (p *CopyProgress) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "copies: %d of %d tables, %d of about %d rows, %.1f MB", p.TablesDone, p.Tables, p.Rows, max(p.Total, p.Rows), float64(p.Bytes)/1e6)
	if p.RowsPerSec > 0 {
		fmt.Fprintf(&b, ", %.0f rows/s, %.1f MB/s", p.RowsPerSec, p.BytesPerSec/1e6)
	}
	if p.ETA > 0 {
		fmt.Fprintf(&b, ", %s left", p.ETA.Round(time.Second))
	}
	for _, s := range []string{p.Bottleneck, p.Writer} {
		if s != "" {
			b.WriteString("; " + s)
		}
	}
	if p.Paused != "" {
		b.WriteString("; paused: " + p.Paused)
	}
	return b.String()
}

// meter measures a copy. The owner of the run uses it.
type meter struct {
	rows, bytes      int64
	reading, writing time.Duration // of all chunks, from request to arrival and from arrival to commit
	held             bool          // the last chunk was read more slowly than it could be
	samples          []sample      // a ring of the last seconds
}

type sample struct {
	at          time.Time
	rows, bytes int64
}

const (
	meterPeriod = time.Second
	meterSpan   = 10
)

func (m *meter) add(now time.Time, rows, bytes int64, reading, writing time.Duration, held bool) {
	m.held = held
	m.rows += rows
	m.bytes += bytes
	m.reading = m.reading*15/16 + reading // the last few dozen count
	m.writing = m.writing*15/16 + writing
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < meterPeriod {
		return
	}
	m.samples = append(m.samples, sample{now, m.rows, m.bytes})
	if len(m.samples) > meterSpan {
		m.samples = m.samples[1:]
	}
}

// rate is per second, over the last seconds.
func (m *meter) rate(now time.Time) (rows, bytes float64) {
	if len(m.samples) == 0 {
		return 0, 0
	}
	first := m.samples[0]
	seconds := now.Sub(first.at).Seconds()
	if seconds < 0.2 {
		return 0, 0
	}
	return float64(m.rows-first.rows) / seconds, float64(m.bytes-first.bytes) / seconds
}

// bottleneck names the side on which chunks spend their time.
func (m *meter) bottleneck() string {
	switch all := m.reading + m.writing; {
	case m.held:
		return "held back for those who write to the source"
	case all == 0:
		return ""
	case m.writing > 2*m.reading:
		return "the target is the bottleneck"
	case m.reading > 2*m.writing:
		return "the source is the bottleneck"
	}
	return "source and target are busy alike"
}

// progress is published for who asks; the row's message is for what goes wrong.
func (r *run) progress() {
	now := time.Now()
	if now.Sub(r.windows.published) < meterPeriod/2 {
		return
	}
	r.windows.published = now
	p := &CopyProgress{Bottleneck: r.windows.meter.bottleneck(), Paused: r.windows.paused, Tables: len(r.order)}
	for _, tc := range r.order {
		p.Rows += tc.copied
		p.Bytes += tc.bytes
		p.Total += max(tc.total, tc.copied)
		if tc.done {
			p.TablesDone++
		}
	}
	p.RowsPerSec, p.BytesPerSec = r.windows.meter.rate(now)
	if p.RowsPerSec > 0 && p.Total > p.Rows {
		p.ETA = time.Duration(float64(p.Total-p.Rows) / p.RowsPerSec * float64(time.Second))
	}
	if r.windows.writer != nil {
		method, why := r.windows.writer.Method()
		if p.Writer = "rows go by " + method.String(); why != "" {
			p.Writer += ", because " + why
		}
	}
	r.c.copying.Store(p)
}

// proto is what a status has of it beside what the tables tell.
func (p *CopyProgress) proto() *tabletpb.CopyProgress {
	return &tabletpb.CopyProgress{RowsPerSecond: p.RowsPerSec, BytesPerSecond: p.BytesPerSec, EtaMs: p.ETA.Milliseconds(),
		Bottleneck: p.Bottleneck, Paused: p.Paused, Writer: p.Writer}
}

// CopyProgress is how the stream's copy goes on; nil when it does not copy now.
func (e *Engine) CopyProgress(id int64) *CopyProgress {
	if c := e.stream(id); c != nil {
		return c.copying.Load()
	}
	return nil
}
