package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"braid/internal/replicate"
)

// linePeriod is how often a status line is written where there is no terminal; changes of the state are told at once.
const linePeriod = 10 * time.Second

// replicateView shows a replication: a block that is drawn over itself on a terminal, lines elsewhere, JSON lines when asked. Log lines
// come above the block.
type replicateView struct {
	json bool
	live bool
	out  io.Writer // JSON
	err  io.Writer // everything else

	mu struct {
		sync.Mutex
		block  []string // rows of the last status
		drawn  int      // of them, that are on the terminal
		told   string
		toldAt time.Time
		last   replicate.Status
	}
}

func newReplicateView(a *app) *replicateView {
	return &replicateView{json: a.output == "json", live: a.output != "json" && terminal(a.err), out: a.out, err: a.err}
}

// handler writes log records: as JSON beside JSON lines, else as text.
func (v *replicateView) handler() slog.Handler {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if v.json {
		return slog.NewJSONHandler(v.err, options)
	}
	return slog.NewTextHandler(above{v}, options)
}

// above is a writer that moves the block down.
type above struct{ v *replicateView }

func (w above) Write(p []byte) (int, error) {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	w.v.erase()
	n, err := w.v.err.Write(p)
	w.v.draw()
	return n, err
}

func (v *replicateView) report(s replicate.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer func() { v.mu.last = s }()
	switch {
	case v.json:
		raw, err := json.Marshal(struct {
			APIVersion string `json:"apiVersion"`
			replicate.Status
		}{apiVersion, s})
		if err == nil {
			fmt.Fprintf(v.out, "%s\n", raw)
		}
	case v.live:
		v.erase()
		v.mu.block = v.fit(statusBlock(s))
		v.draw()
	default:
		told := s.State + s.Message
		if told == v.mu.told && s.Time.Sub(v.mu.toldAt) < linePeriod && !s.Final {
			return
		}
		v.mu.told, v.mu.toldAt = told, s.Time
		fmt.Fprintln(v.err, statusLine(s))
	}
}

// fit breaks lines that are longer than the terminal is wide, so that the block has as many rows as it is taken to have, and leaves out what has no
// room on the terminal: a row that has left it cannot be drawn over.
func (v *replicateView) fit(lines []string) (rows []string) {
	width, height := 80, 24
	if f, ok := v.err.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 1 && h > 1 {
			width, height = w, h
		}
	}
	for _, line := range lines {
		row := []rune(strings.ReplaceAll(line, "\n", " "))
		for ; len(row) > width; row = row[width:] {
			rows = append(rows, string(row[:width]))
		}
		rows = append(rows, string(row))
	}
	return rows[:min(len(rows), height-1)]
}

// draw puts the block on the terminal. It runs under the lock.
func (v *replicateView) draw() {
	if len(v.mu.block) > 0 {
		fmt.Fprintln(v.err, strings.Join(v.mu.block, "\n"))
		v.mu.drawn = len(v.mu.block)
	}
}

// erase takes the block away. It runs under the lock.
func (v *replicateView) erase() {
	if v.mu.drawn > 0 {
		fmt.Fprintf(v.err, "\x1b[%dA\x1b[J", v.mu.drawn)
		v.mu.drawn = 0
	}
}

// statusLine is a status in one line.
func statusLine(s replicate.Status) string {
	parts := []string{s.Name + ": " + s.State}
	if s.State == "Copying" || s.State == "Init" {
		parts = append(parts, copyText(s))
	}
	if text := workText(s); text != "" {
		parts = append(parts, text)
	}
	parts = append(parts, "lag "+lagText(s))
	if s.BehindGTIDs > 0 {
		parts = append(parts, fmt.Sprintf("%s transactions behind", thousands(s.BehindGTIDs)))
	}
	if s.Paused != "" {
		parts = append(parts, "copy waits: "+s.Paused)
	}
	if s.ETASeconds > 0 {
		parts = append(parts, "ETA "+(time.Duration(s.ETASeconds)*time.Second).String())
	}
	if s.Message != "" {
		parts = append(parts, s.Message)
	}
	return strings.Join(parts, "  ")
}

func copyText(s replicate.Status) string {
	done := 0
	for _, t := range s.Tables {
		if t.Done {
			done++
		}
	}
	text := fmt.Sprintf("%s of about %s rows", thousands(s.RowsCopied), thousands(s.RowsTotal))
	if s.RowsTotal > 0 {
		text += fmt.Sprintf(" (%d %%)", 100*s.RowsCopied/s.RowsTotal)
	}
	return text + fmt.Sprintf(", %s, %d of %d tables, %s rows/s, %s/s", megabytes(s.BytesCopied), done, len(s.Tables), thousands(int64(s.RowsPerS)), megabytes(int64(s.BytesPerS)))
}

// workText is what the applier does; "" when it has nothing to do.
func workText(s replicate.Status) string {
	if s.TPS < 0.5 {
		return ""
	}
	text := thousands(int64(s.TPS)) + " tx/s"
	if s.Groups > 0 {
		text += fmt.Sprintf(" in %s commits/s of %.1f", thousands(int64(s.Groups)), s.Width)
	}
	if s.Workers > 0 {
		text += fmt.Sprintf(", %.1f of %d workers busy", s.Busy, s.Workers)
	}
	return text
}

func lagText(s replicate.Status) string {
	if s.LagMS < 0 {
		return "unknown"
	}
	d := time.Duration(s.LagMS) * time.Millisecond
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}

// megabytes writes a size as copies tell it.
func megabytes(n int64) string {
	if n >= 10e9 {
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// thousands writes a number in groups: 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// statusBlock is a status on a terminal.
func statusBlock(s replicate.Status) []string {
	lines := []string{fmt.Sprintf("%s  %s", s.Name, s.State)}
	if s.State == "Copying" || s.State == "Init" {
		lines = append(lines, "  copy    "+copyText(s)+bar(s.RowsCopied, s.RowsTotal))
		for _, text := range []string{s.Bottleneck, s.Paused} {
			if text != "" {
				lines = append(lines, "          "+text)
			}
		}
	} else {
		lines = append(lines, fmt.Sprintf("  copied  %s rows of %d tables", thousands(s.RowsCopied), len(s.Tables)))
	}
	follow := fmt.Sprintf("  follow  %s transactions, lag %s", thousands(s.Transactions), lagText(s))
	if s.BehindGTIDs >= 0 {
		follow += fmt.Sprintf(", %s transactions behind", thousands(s.BehindGTIDs))
	}
	lines = append(lines, follow)
	if text := workText(s); text != "" {
		lines = append(lines, "  work    "+text)
	}
	if s.ETASeconds > 0 {
		lines = append(lines, "  ETA     "+(time.Duration(s.ETASeconds)*time.Second).String())
	}
	if s.Message != "" {
		lines = append(lines, "  waits   "+s.Message)
	}
	return lines
}

func bar(n, of int64) string {
	if of <= 0 {
		return ""
	}
	const width = 20
	full := int(min(n*width/of, width))
	return "  [" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}
