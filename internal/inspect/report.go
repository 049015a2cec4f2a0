package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"braid/internal/rowimage"
)

// TopReport is what made the volume of a span. Factors are against the span before it of the same length; 0 where that has nothing to compare
// with.
type TopReport struct {
	Span     Summary    `json:"span"`
	Before   *Summary   `json:"before,omitempty"`
	Findings []string   `json:"findings"`
	Tables   []TableTop `json:"tables"`
	Kinds    []KindTop  `json:"kinds"`
	Sizes    []SizeTop  `json:"sizes"`
	HotRows  []HotRow   `json:"hot_rows"`
	Biggest  []Big      `json:"biggest"`
}

// TableTop is a table's part.
type TableTop struct {
	Table string `json:"table"`
	Count
	Inserts      int64   `json:"inserts"`
	Updates      int64   `json:"updates"`
	Deletes      int64   `json:"deletes"`
	DDL          int64   `json:"ddl,omitempty"`
	Share        float64 `json:"share"` // of the bytes
	BytesFactor  float64 `json:"bytes_factor,omitempty"`
	RowsFactor   float64 `json:"rows_factor,omitempty"`
	New          bool    `json:"new,omitempty"` // it did not change in the span before
	NoPrimaryKey bool    `json:"no_primary_key,omitempty"`
}

// KindTop is the part of a kind of statement.
type KindTop struct {
	Kind        string  `json:"kind"` // insert, update, delete, ddl, statement
	Events      int64   `json:"events"`
	Rows        int64   `json:"rows"`
	Bytes       int64   `json:"bytes"`
	BytesFactor float64 `json:"bytes_factor,omitempty"`
}

// SizeTop is a class of transaction sizes.
type SizeTop struct {
	From int64 `json:"from"`         // bytes
	To   int64 `json:"to,omitempty"` // 0 is no bound
	Count
	Before int64 `json:"transactions_before"`
}

// HotRow is a row that changed again and again. The sketch may have missed Missed changes of it.
type HotRow struct {
	Table        string `json:"table"`
	Key          []Cell `json:"key"`
	Changes      int64  `json:"changes"`
	Transactions int64  `json:"transactions"`
	Bytes        int64  `json:"bytes"`
	Missed       int64  `json:"missed_at_most,omitempty"`
}

// Report makes the report of a span; before may be nil.
func (c *Top) Report(span Summary, before *Top, beforeSpan *Summary, most int) *TopReport {
	r := &TopReport{Span: span, Before: beforeSpan}
	if before == nil {
		before = NewTop()
	}
	r.Tables = c.tableTops(before)
	r.Kinds = c.kindTops(before)
	for i := range c.sizes {
		s := SizeTop{Count: c.sizes[i], Before: before.sizes[i].Transactions}
		if i > 0 {
			s.From = sizeBounds[i-1]
		}
		if i < len(sizeBounds) {
			s.To = sizeBounds[i]
		}
		if s.Transactions > 0 || s.Before > 0 {
			r.Sizes = append(r.Sizes, s)
		}
	}
	r.HotRows = c.hotRows(most)
	r.Biggest = slices.Clone(c.biggest)
	slices.Reverse(r.Biggest)
	r.Findings = c.findings(r)
	r.Tables = r.Tables[:min(most, len(r.Tables))]
	r.Biggest = r.Biggest[:min(most, len(r.Biggest))]
	return r
}

func (c *Top) tableTops(before *Top) []TableTop {
	out := []TableTop{}
	var bytes int64
	for _, n := range c.tables {
		bytes += n.Bytes
	}
	for _, name := range slices.Sorted(maps.Keys(c.tables)) {
		n := c.tables[name]
		t := TableTop{Table: name, Count: n.Count, Inserts: n.inserts, Updates: n.updates, Deletes: n.deletes, DDL: n.ddl, NoPrimaryKey: c.keyless[name]}
		t.Share = ratio(n.Bytes, bytes)
		if old := before.tables[name]; old != nil {
			t.BytesFactor, t.RowsFactor = ratio(n.Bytes, old.Bytes), ratio(n.Rows, old.Rows)
		} else {
			t.New = before.total.Transactions > 0
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b TableTop) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out
}

func (c *Top) kindTops(before *Top) []KindTop {
	out := []KindTop{}
	for _, name := range slices.Sorted(maps.Keys(c.kinds)) {
		n := c.kinds[name]
		k := KindTop{Kind: name, Events: n.Transactions, Rows: n.Rows, Bytes: n.Bytes}
		if old := before.kinds[name]; old != nil {
			k.BytesFactor = ratio(n.Bytes, old.Bytes)
		}
		out = append(out, k)
	}
	slices.SortStableFunc(out, func(a, b KindTop) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out
}

func (c *Top) hotRows(most int) []HotRow {
	out := []HotRow{}
	for _, h := range c.hot.top(most) {
		t := c.keys[h.key[:4]]
		key := t.Key()
		cells, _, err := rowimage.DecodeRow([]byte(h.key[4:]), len(key))
		if err != nil { // the key was changed meanwhile
			continue
		}
		row := HotRow{Table: t.Name, Changes: h.weight - h.error, Transactions: h.trx, Bytes: h.bytes, Missed: h.error}
		for i, col := range key {
			row.Key = append(row.Key, newCell(&t.Def.Columns[col], cells[i]))
		}
		out = append(out, row)
	}
	return out
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000Z07:00") }

// What makes a finding.
const (
	tellFactor = 1.5  // growth
	tellShare  = 0.25 // of the span
	tellHot    = 0.10 // of its transactions
)

// findings are the sentences that answer why a replica lags.
func (c *Top) findings(r *TopReport) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.Span.Transactions == 0 {
		return append(out, "nothing was written in the span")
	}
	if b := r.Before; b != nil && b.Bytes > 0 {
		say("%s of log, %.1f times the span before (%s); %d transactions, %.1f times; %d rows, %.1f times",
			Size(r.Span.Bytes), ratio(r.Span.Bytes, b.Bytes), Size(b.Bytes), r.Span.Transactions, ratio(r.Span.Transactions, b.Transactions),
			r.Span.Rows, ratio(r.Span.Rows, b.Rows))
	}
	for i := range r.Tables[:min(5, len(r.Tables))] {
		switch t := &r.Tables[i]; {
		case t.Share < tellShare && !t.NoPrimaryKey:
		case t.New:
			say("%s made %.0f %% of the bytes of row events, and none in the span before", t.Table, 100*t.Share)
		case t.BytesFactor >= tellFactor:
			say("%s made %.0f %% of the bytes of row events, %.1f times as many as in the span before", t.Table, 100*t.Share, t.BytesFactor)
		case t.Share >= tellShare:
			say("%s made %.0f %% of the bytes of row events", t.Table, 100*t.Share)
		}
	}
	for i := range r.Tables {
		if t := &r.Tables[i]; t.NoPrimaryKey && t.Updates+t.Deletes > 0 {
			say("%s has no primary key: a native replica searches the table for each of its %d updates and deletes", t.Table, t.Updates+t.Deletes)
		}
	}
	if share := ratio(r.Biggest[0].Bytes, r.Span.Bytes); share >= tellShare && r.Span.Transactions > 1 {
		b := r.Biggest[0]
		say("transaction %s alone is %.0f %% of the log (%s, %d rows): it cannot be split among workers", b.GTID, 100*share, Size(b.Bytes), b.Rows)
	}
	if len(r.HotRows) > 0 && r.Span.Transactions > 10 {
		if h := r.HotRows[0]; ratio(h.Transactions, r.Span.Transactions) >= tellHot {
			say("row %s of %s was changed by %.0f %% of all transactions: these can only be applied one after the other", Cells(h.Key), h.Table,
				100*ratio(h.Transactions, r.Span.Transactions))
		}
	}
	for i := range r.Tables {
		if t := &r.Tables[i]; t.DDL > 0 {
			say("%s was changed by DDL (%d times): it waits for all before it, and all behind wait for it", t.Table, t.DDL)
		}
	}
	return out
}
