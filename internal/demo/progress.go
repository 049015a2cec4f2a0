package demo

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
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
	container := mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
	bar := container.AddBar(0,
		mpb.PrependDecorators(decor.Name("        "+name, decor.WC{W: 34, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersNoUnit("%d / %d", decor.WCSyncSpace), decor.OnComplete(decor.EwmaETA(decor.ET_STYLE_GO, 20, decor.WC{W: 6}), "")))
	return &ttyBar{container: container, bar: bar, last: time.Now()}
}

type ttyBar struct {
	container *mpb.Progress
	bar       *mpb.Bar
	last      time.Time
}

func (b *ttyBar) Set(current, total int64) {
	b.bar.SetTotal(max(total, current, 1), false)
	b.bar.EwmaSetCurrent(current, time.Since(b.last))
	b.last = time.Now()
}

func (b *ttyBar) Done() {
	b.bar.SetTotal(-1, true)
	b.container.Wait()
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
	eta := "unknown"
	if current > 0 && total >= current {
		eta = (now.Sub(l.begun) * time.Duration(total-current) / time.Duration(current)).Round(time.Second).String()
	}
	l.p.Say("%s: %d of %d, %d %%, ETA %s", l.name, current, total, 100*current/total, eta)
}

func (l *lines) Done() {}
