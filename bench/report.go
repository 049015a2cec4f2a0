package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// Figure is one result.
type Figure struct {
	Bench  string  `json:"bench"`
	Case   string  `json:"case"`
	Metric string  `json:"metric"` // with its unit
	Ours   float64 `json:"ours"`
	Peer   string  `json:"peer,omitempty"` // what it is compared with; empty if nothing
	Value  float64 `json:"peer_value,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`   // ours through the peer's
	Floor  float64 `json:"floor,omitempty"`   // for the ratio, or for ours where there is no peer; 0: none
	Most   float64 `json:"ceiling,omitempty"` // likewise, where less is better
	OK     bool    `json:"ok"`
}

// Report is what one benchmark has found.
type Report struct {
	Name    string
	Figures []Figure
}

// Add fills in the ratio and whether it is good enough.
func (r *Report) Add(f Figure) {
	f.Bench = r.Name
	judged := f.Ours
	if f.Peer != "" && f.Value > 0 {
		f.Ratio = f.Ours / f.Value
		judged = f.Ratio
	}
	f.OK = judged >= f.Floor && (f.Most == 0 || judged <= f.Most)
	r.Figures = append(r.Figures, f)
}

// Print writes the table.
func (r *Report) Print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\tmetric\tours\tpeer\t\tratio\twanted\t")
	for _, f := range r.Figures {
		wanted, mark, peer, ratio := "", "", "", ""
		switch {
		case f.Floor > 0:
			wanted = fmt.Sprintf(">= %.4g", f.Floor)
		case f.Most > 0:
			wanted = fmt.Sprintf("<= %.4g", f.Most)
		}
		if !f.OK {
			mark = "NOT REACHED"
		}
		if f.Peer != "" {
			peer, ratio = fmt.Sprintf("%.4g", f.Value), fmt.Sprintf("%.3g", f.Ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%.4g\t%s\t%s\t%s\t%s\t%s\n", f.Case, f.Metric, f.Ours, peer, f.Peer, ratio, wanted, mark)
	}
	return w.Flush()
}

// Write stores the figures, a line each, in the directory.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("figures of %s: %w", r.Name, err)
	}
	f, err := os.Create(filepath.Join(dir, r.Name+".jsonl"))
	if err != nil {
		return fmt.Errorf("figures of %s: %w", r.Name, err)
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for i := range r.Figures {
		if err := enc.Encode(&r.Figures[i]); err != nil {
			return fmt.Errorf("figures of %s: %w", r.Name, err)
		}
	}
	return nil
}

// Failed lists the figures that are not good enough.
func (r *Report) Failed() []Figure {
	var bad []Figure
	for _, f := range r.Figures {
		if !f.OK {
			bad = append(bad, f)
		}
	}
	return bad
}
