package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Progress shows what is under way: bars with an ETA on a terminal, plain lines elsewhere.
type Progress struct {
	out      io.Writer
	terminal bool
	start    time.Time
}

// NewProgress writes to out.
func NewProgress(out io.Writer, terminal bool) *Progress {
	return &Progress{out: out, terminal: terminal, start: time.Now()}
}

// Say prints one line of the story.
func (p *Progress) Say(format string, args ...any) {
	fmt.Fprintf(p.out, "%5.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Bar is the progress of one job. Set may be called with a growing total; Done ends it.
type Bar interface {
	Set(current, total int64)
	Done()
}

// Bar begins a job.
func (p *Progress) Bar(name string) Bar {
	if !p.terminal {
		return &lines{p: p, name: name}
	}
	return &ttyBar{out: p.out, name: name, begun: time.Now()}
}

// ttyBar is drawn again in its own line. A library for it would cost every command of the program 20 ms of tables at its start.
type ttyBar struct {
	out            io.Writer
	name           string
	begun, drawn   time.Time
	current, total int64
}

const (
	barWidth  = 40
	barPeriod = 100 * time.Millisecond // between two drawings
)

func (b *ttyBar) Set(current, total int64) {
	b.current, b.total = current, max(total, current, 1)
	if now := time.Now(); now.Sub(b.drawn) >= barPeriod {
		b.drawn = now
		b.draw("ETA " + eta(now.Sub(b.begun), b.current, b.total))
	}
}

func (b *ttyBar) draw(end string) {
	full := int(barWidth * b.current / max(b.total, 1))
	fmt.Fprintf(b.out, "\r        %-26s [%s%s] %d / %d  %s\x1b[K", b.name, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), b.current, b.total, end)
}

func (b *ttyBar) Done() {
	b.draw("")
	fmt.Fprintln(b.out)
}

// eta is the time that is left, if the rest is as fast.
func eta(since time.Duration, current, total int64) string {
	if current <= 0 || total < current {
		return "unknown"
	}
	return (since * time.Duration(total-current) / time.Duration(current)).Round(time.Second).String()
}

// linePeriod is how often a job prints a line where there is no terminal.
const linePeriod = 5 * time.Second

type lines struct {
	p     *Progress
	name  string
	begun time.Time
	last  time.Time
}

func (l *lines) Set(current, total int64) {
	now := time.Now()
	if l.begun.IsZero() {
		l.begun, l.last = now, now
		return
	}
	if now.Sub(l.last) < linePeriod || total == 0 {
		return
	}
	l.last = now
	l.p.Say("%s: %d of %d, %d %%, ETA %s", l.name, current, total, 100*current/total, eta(now.Sub(l.begun), current, total))
}

func (l *lines) Done() {}
