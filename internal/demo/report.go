package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report is what a run showed.
type Report struct {
	APIVersion           string      `json:"apiVersion"`
	OK                   bool        `json:"ok"`
	Problems             []string    `json:"problems,omitempty"`
	MySQL                string      `json:"mysql"`
	Seconds              float64     `json:"seconds"`
	Customers            int         `json:"customers_loaded"`
	Orders               int         `json:"orders_loaded"`
	Copies               []Copy      `json:"copies"`
	TransactionsFollowed int64       `json:"transactions_followed"`
	Switches             []Switch    `json:"switches"`
	Writes               Writes      `json:"writes"`
	Diffs                []Diff      `json:"diffs"`
	Ledger               AuditResult `json:"ledger"`

	expect expectation
}

// expectation is how much a story must have shown to count: one that skips a step proves nothing.
type expectation struct {
	copies, switches, diffs int
	moves                   int64
}

// whole is what the whole story shows: two copies; reads and writes of the move, three switches of the split, back and forth;
// a comparison after each copy and each turn.
var whole = expectation{copies: 2, switches: 7, diffs: 4, moves: 1}

// Copy is the first copy of one workflow.
type Copy struct {
	Workflow   string  `json:"workflow"`
	Rows       int64   `json:"rows"`
	Seconds    float64 `json:"seconds"`
	RowsPerSec float64 `json:"rows_per_second"`
}

// Switch is one change of traffic.
type Switch struct {
	Workflow    string   `json:"workflow"`
	Direction   string   `json:"direction"`
	TabletTypes []string `json:"tablet_types"`
	PauseMS     float64  `json:"write_pause_ms"` // longest gap between two acknowledged writes of one writer
	FencedMS    float64  `json:"fenced_ms"`      // fence to new routing, as the controller saw it
}

// Writes counts what the writers did.
type Writes struct {
	Acknowledged int64            `json:"acknowledged"` // transactions
	Failed       int64            `json:"failed"`
	ByKind       map[string]int64 `json:"by_kind"`
	RowMoves     int64            `json:"row_moves"` // updates of corder.customer_id
	Errors       []string         `json:"errors,omitempty"`
}

// Diff is the result of one comparison.
type Diff struct {
	Workflow    string  `json:"workflow"`
	When        string  `json:"when"`
	Rows        int64   `json:"rows"`
	Differences int64   `json:"differences"`
	Seconds     float64 `json:"seconds"`
}

// judge sets OK: true only if all of it holds.
func (r *Report) judge() {
	bad := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if r.Writes.Failed > 0 {
		bad("%d writes failed", r.Writes.Failed)
	}
	if r.Writes.Acknowledged == 0 {
		bad("nothing was written")
	}
	for _, d := range r.Diffs {
		if d.Differences > 0 {
			bad("diff of %s found %d differences", d.Workflow, d.Differences)
		}
		if d.Rows == 0 {
			bad("diff of %s compared nothing", d.Workflow)
		}
	}
	if want := r.expect; len(r.Copies) < want.copies || len(r.Switches) < want.switches || len(r.Diffs) < want.diffs || r.Writes.RowMoves < want.moves {
		bad("the story is not complete: %d copies, %d switches, %d diffs, %d row moves", len(r.Copies), len(r.Switches), len(r.Diffs), r.Writes.RowMoves)
	}
	if !r.Ledger.OK() {
		bad("the ledger and the shards differ")
	}
	r.OK = len(r.Problems) == 0
}

// JSON prints the report for programs.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// Text prints the report for people.
func (r *Report) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("")
	p("Loaded\t%d customers, %d orders (MySQL %s)", r.Customers, r.Orders, r.MySQL)
	for _, c := range r.Copies {
		p("Copied by %s\t%d rows in %.1f s, %.0f rows/s, while writes went on", c.Workflow, c.Rows, c.Seconds, c.RowsPerSec)
	}
	p("Followed\t%d transactions", r.TransactionsFollowed)
	p("Writes\t%d acknowledged, %d failed; %d moved a row to another customer", r.Writes.Acknowledged, r.Writes.Failed, r.Writes.RowMoves)
	for _, s := range r.Switches {
		p("Switch of %s\t%s %v: longest write pause %.0f ms", s.Workflow, s.Direction, s.TabletTypes, s.PauseMS)
	}
	for _, d := range r.Diffs {
		p("VDiff of %s\t%s: %d rows compared in %.1f s, %d differences", d.Workflow, d.When, d.Rows, d.Seconds, d.Differences)
	}
	l := r.Ledger
	p("Ledger\t%d customers and %d orders on the shards: %d missing, %d extra, %d wrong, %d misplaced, %d twice",
		l.Customers, l.Orders, l.Missing, l.Extra, l.Wrong, l.Misplaced, l.Twice)
	p("Time\t%s", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	for _, s := range l.Samples {
		fmt.Fprintln(out, "  "+s)
	}
	for _, e := range r.Writes.Errors {
		fmt.Fprintln(out, "  "+e)
	}
	if r.OK {
		fmt.Fprintln(out, "\nEvery acknowledged write is there exactly once, on the right shard, and nothing else is.")
		return nil
	}
	for _, problem := range r.Problems {
		fmt.Fprintln(out, "PROBLEM: "+problem)
	}
	return nil
}
