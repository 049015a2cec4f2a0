package cli

import (
	"fmt"
	"strings"

	"braid/internal/inspect"
)

func (a *app) printTop(r *inspect.TopReport) error {
	printSpan(a, "span", r.Span)
	if r.Before != nil {
		printSpan(a, "before", *r.Before)
	} else {
		fmt.Fprintln(a.out, "before  nothing to compare with")
	}
	fmt.Fprintln(a.out)
	for _, f := range r.Findings {
		fmt.Fprintln(a.out, "*", f)
	}
	for _, section := range []func(*inspect.TopReport) error{a.topTables, a.topKinds, a.topSizes, a.topHot, a.topBiggest} {
		if err := section(r); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) topTables(r *inspect.TopReport) error {
	if len(r.Tables) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := newTable(a.out, "TABLE", "BYTES", "SHARE", "CHANGE", "ROWS", "CHANGE", "INSERTS", "UPDATES", "DELETES", "TRANSACTIONS")
	for _, x := range r.Tables {
		t.row(x.Table, inspect.Size(x.Bytes), percent(x.Share), change(x.BytesFactor, x.New), x.Rows, change(x.RowsFactor, x.New),
			x.Inserts, x.Updates, x.Deletes, x.Transactions)
	}
	return t.flush()
}

func (a *app) topKinds(r *inspect.TopReport) error {
	if len(r.Kinds) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := newTable(a.out, "KIND", "EVENTS", "ROWS", "BYTES", "CHANGE")
	for _, x := range r.Kinds {
		t.row(x.Kind, x.Events, x.Rows, inspect.Size(x.Bytes), change(x.BytesFactor, false))
	}
	return t.flush()
}

func (a *app) topSizes(r *inspect.TopReport) error {
	if len(r.Sizes) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := newTable(a.out, "TRANSACTION SIZE", "TRANSACTIONS", "BEFORE", "ROWS", "BYTES", "SHARE", "")
	for _, x := range r.Sizes {
		bounds := "below " + inspect.Size(x.To)
		if x.To == 0 {
			bounds = inspect.Size(x.From) + " or more"
		} else if x.From > 0 {
			bounds = inspect.Size(x.From) + " – " + inspect.Size(x.To)
		}
		share := float64(x.Bytes) / float64(max(r.Span.Bytes, 1))
		t.row(bounds, x.Transactions, x.Before, x.Rows, inspect.Size(x.Bytes), percent(share), strings.Repeat("#", int(20*share+0.5)))
	}
	return t.flush()
}

func (a *app) topHot(r *inspect.TopReport) error {
	if len(r.HotRows) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := newTable(a.out, "HOT ROW", "KEY", "CHANGES", "TRANSACTIONS", "BYTES")
	for _, x := range r.HotRows {
		changes := fmt.Sprint(x.Changes)
		if x.Missed > 0 {
			changes += fmt.Sprintf(" – %d", x.Changes+x.Missed)
		}
		t.row(x.Table, inspect.Cells(x.Key), changes, x.Transactions, inspect.Size(x.Bytes))
	}
	return t.flush()
}

func (a *app) topBiggest(r *inspect.TopReport) error {
	if len(r.Biggest) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	t := newTable(a.out, "BIGGEST TRANSACTION", "AT", "BYTES", "ROWS", "TABLES")
	for _, x := range r.Biggest {
		t.row(orDash(x.GTID), x.At, inspect.Size(x.Bytes), x.Rows, someOf(x.Tables, 3))
	}
	return t.flush()
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// change is a factor against the span before.
func change(factor float64, isNew bool) string {
	switch {
	case isNew:
		return "new"
	case factor == 0:
		return "-"
	}
	return fmt.Sprintf("×%.1f", factor)
}
