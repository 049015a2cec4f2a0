package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"braid/internal/inspect"
)

// tableBlock is how many lines are aligned with each other.
const tableBlock = 500

func (a *app) notes(s inspect.Summary) {
	for _, note := range s.Notes {
		fmt.Fprintln(a.err, "note:", note)
	}
}

func (a *app) binlogGroups(ctx context.Context, src *inspect.Source, span inspect.Span, by inspect.By) error {
	print := a.groupTable()
	if a.output == "json" {
		print = &groupJSON{a: a, by: by}
	}
	groups := 0
	g := &inspect.Groups{By: by, Emit: func(m *inspect.Member) error {
		groups = max(groups, m.Group)
		return print.member(m)
	}}
	sum, err := src.Scan(ctx, span, nil, g)
	if err != nil {
		return errors.Join(err, print.flush())
	}
	return print.end(sum, groups, g.Coarse())
}

// groupPrinter writes lines as they come.
type groupPrinter interface {
	member(m *inspect.Member) error
	flush() error // when the scan fails
	end(sum inspect.Summary, groups int, coarse []inspect.CoarseTable) error
}

type groupTable struct {
	a     *app
	t     *table
	lines int
}

func (a *app) groupTable() groupPrinter { return &groupTable{a: a} }

func (p *groupTable) member(m *inspect.Member) error {
	if p.t == nil {
		p.t = newTable(p.a.out, "GROUP", "GTID", "LAST_COMMITTED", "SEQUENCE_NUMBER", "SIZE", "ROWS", "TABLES", "DEPENDS ON")
	}
	p.t.row(m.Group, orDash(m.GTID), m.LastCommitted, m.Sequence, inspect.Size(m.Bytes), m.Rows, someOf(m.Tables, 3), dependsOn(m))
	if p.lines++; p.lines%tableBlock == 0 {
		return p.t.flush()
	}
	return nil
}

func (p *groupTable) flush() error {
	if p.t == nil {
		return nil
	}
	return p.t.flush()
}

func (p *groupTable) end(sum inspect.Summary, groups int, coarse []inspect.CoarseTable) error {
	if err := p.flush(); err != nil {
		return err
	}
	p.a.notes(sum)
	p.a.coarse(coarse)
	_, err := fmt.Fprintf(p.a.out, "%s in %s\n", count(sum.Transactions, "transaction"), count(int64(groups), "group"))
	return err
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

// coarse writes one line for each reason.
func (a *app) coarse(list []inspect.CoarseTable) {
	tables := map[string][]string{}
	var reasons []string
	for _, c := range list {
		if tables[c.Why] == nil {
			reasons = append(reasons, c.Why)
		}
		tables[c.Why] = append(tables[c.Why], c.Table)
	}
	for _, why := range reasons {
		fmt.Fprintf(a.err, "note: rows of %s: %s\n", someOf(tables[why], 10), why)
	}
}

// someOf joins the first names.
func someOf(names []string, most int) string {
	if len(names) == 0 {
		return "-"
	}
	if len(names) > most {
		return fmt.Sprintf("%s +%d", strings.Join(names[:most], ","), len(names)-most)
	}
	return strings.Join(names, ",")
}

// dependsOn leaves out the server where it is the transaction's own; ≤ stands before the last of all that come before.
func dependsOn(m *inspect.Member) string {
	server, _, _ := strings.Cut(m.GTID, ":")
	short := func(id string) string {
		if own, found := strings.CutPrefix(id, server+":"); found && server != "" {
			return ":" + own
		}
		return id
	}
	var parts []string
	if m.AllUpTo != "" {
		parts = append(parts, "≤"+short(m.AllUpTo))
	}
	for _, id := range m.DependsOn {
		parts = append(parts, short(id))
	}
	return someOf(parts, 4)
}

// groupJSON writes one document without holding it.
type groupJSON struct {
	a    *app
	by   inspect.By
	many bool
}

func (p *groupJSON) member(m *inspect.Member) error {
	sep := ",\n    "
	if !p.many {
		p.many = true
		sep = p.begin()
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err = fmt.Fprintf(p.a.out, "%s%s", sep, raw)
	return err
}

// flush leaves a document that is not complete, and so cannot be taken for the whole.
func (p *groupJSON) flush() error { return nil }

func (p *groupJSON) begin() string {
	return fmt.Sprintf("{\n  \"apiVersion\": %q,\n  \"by\": %q,\n  \"transactions\": [\n    ", apiVersion, p.by)
}

func (p *groupJSON) end(sum inspect.Summary, groups int, coarse []inspect.CoarseTable) error {
	raw, err := json.Marshal(sum)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if coarse == nil {
		coarse = []inspect.CoarseTable{}
	}
	tables, err := json.Marshal(coarse)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if !p.many {
		fmt.Fprint(p.a.out, strings.TrimRight(p.begin(), "\n "))
	}
	_, err = fmt.Fprintf(p.a.out, "\n  ],\n  \"groups\": %d,\n  \"coarse_tables\": %s,\n  \"span\": %s\n}\n", groups, tables, raw)
	return err
}

func (a *app) binlogParallelism(ctx context.Context, src *inspect.Source, span inspect.Span) error {
	p := inspect.NewParallelism()
	sum, err := src.Scan(ctx, span, nil, p)
	if err != nil {
		return err
	}
	if sum.Limited {
		sum.Notes = append(sum.Notes, fmt.Sprintf("only the first %d transactions of the span", sum.Transactions))
	}
	report, coarse := p.Report(), p.Coarse()
	if a.output == "json" {
		return printJSON(a.out, map[string]any{"apiVersion": apiVersion, "span": sum, "modes": report, "coarse_tables": coarse})
	}
	a.notes(sum)
	a.coarse(coarse)
	printSpan(a, "span", sum)
	fmt.Fprintln(a.out)
	header := []any{"DEPENDENCIES", "TRANSACTIONS", "CRITICAL PATH", "AVG WIDTH", "P95 WIDTH", "MAX WIDTH"}
	for _, n := range inspect.Workers {
		header = append(header, fmt.Sprintf("×%d", n))
	}
	t := newTable(a.out, header...)
	for _, m := range report {
		row := []any{m.Mode, m.Transactions, m.Waves, fmt.Sprintf("%.1f", m.AverageWidth), m.P95Width, m.MaxWidth}
		for _, r := range m.Replay {
			row = append(row, fmt.Sprintf("%.2f", r.SpeedUp))
		}
		t.row(row...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, "\n×N: speed-up of N workers over one, as far as the dependencies allow")
	return err
}

func printSpan(a *app, name string, s inspect.Summary) {
	if s.Transactions == 0 {
		fmt.Fprintf(a.out, "%-7s no transactions\n", name)
		return
	}
	fmt.Fprintf(a.out, "%-7s %s – %s  %s, %s, %s\n", name, s.First.Format(time.DateTime), s.Last.Format(time.DateTime),
		count(s.Transactions, "transaction"), count(s.Rows, "row"), inspect.Size(s.Bytes))
}

func (a *app) binlogTail(ctx context.Context, src *inspect.Source, span inspect.Span, filter *inspect.Patterns) error {
	sum, err := src.Scan(ctx, span, filter.Match, inspect.NewTail(a.out, a.output == "json", filter))
	a.notes(sum)
	return err
}

// binlogTop reads the span, and then the one before it, whose length is known only now.
func (a *app) binlogTop(ctx context.Context, src *inspect.Source, span inspect.Span, now time.Time, most int) error {
	top := inspect.NewTop()
	sum, err := src.Scan(ctx, span, nil, top)
	if err != nil {
		return err
	}
	before, beforeSum, err := a.topBefore(ctx, src, span, sum, now)
	if err != nil {
		return err
	}
	report := top.Report(sum, before, beforeSum, max(most, 1))
	if a.output == "json" {
		return printJSON(a.out, struct {
			APIVersion string `json:"apiVersion"`
			*inspect.TopReport
		}{apiVersion, report})
	}
	a.notes(sum)
	return a.printTop(report)
}

func (a *app) topBefore(ctx context.Context, src *inspect.Source, span inspect.Span, sum inspect.Summary, now time.Time) (*inspect.Top, *inspect.Summary, error) {
	start, end := span.Since, span.Until
	if start.IsZero() {
		start = sum.First
	}
	if end.IsZero() || end.After(now) || sum.Limited || span.To != nil {
		if end = sum.Last; len(src.Files) == 0 && span.To == nil && !sum.Limited {
			end = now
		}
	}
	length := end.Sub(start)
	if length <= 0 || start.IsZero() {
		return nil, nil, nil
	}
	top := inspect.NewTop()
	before, err := src.Scan(ctx, inspect.Span{Since: start.Add(-length), Until: start}, nil, top)
	if err != nil || before.Transactions == 0 {
		return nil, nil, err
	}
	return top, &before, nil
}
