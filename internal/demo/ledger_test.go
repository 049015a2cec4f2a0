package demo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// even ids belong to "a", odd ones to "b".
func parity(id int64) string {
	if id%2 == 0 {
		return "a"
	}
	return "b"
}

func filled() *Ledger {
	l := NewLedger()
	l.Acked(
		Write{CustomerID: 1, Email: "one"}, Write{CustomerID: 2, Email: "two"}, Write{CustomerID: 3, Email: "three"},
		Write{IsOrder: true, OrderID: 10, Order: Order{1, "x", 5}},
		Write{IsOrder: true, OrderID: 11, Order: Order{2, "y", 6}},
	)
	l.Acked(Write{CustomerID: 3, Delete: true})
	return l
}

func TestAuditAcceptsExactlyTheLedger(t *testing.T) {
	a := filled().Audit(parity)
	a.Customer("b", 1, "one")
	a.Customer("a", 2, "two")
	a.Order("b", 10, Order{1, "x", 5})
	a.Order("a", 11, Order{2, "y", 6})
	r := a.Finish()
	require.True(t, r.OK(), "%+v", r)
	require.Equal(t, 2, r.Orders)
}

func TestAuditFindsEachFault(t *testing.T) {
	right := func(a *Audit) {
		a.Customer("b", 1, "one")
		a.Customer("a", 2, "two")
		a.Order("b", 10, Order{1, "x", 5})
	}
	for name, c := range map[string]struct {
		feed func(*Audit)
		want func(AuditResult) int
	}{
		"missing":   {right, func(r AuditResult) int { return r.Missing }},
		"wrong":     {func(a *Audit) { right(a); a.Order("a", 11, Order{2, "y", 7}) }, func(r AuditResult) int { return r.Wrong }},
		"misplaced": {func(a *Audit) { right(a); a.Order("b", 11, Order{2, "y", 6}) }, func(r AuditResult) int { return r.Misplaced }},
		"twice": {func(a *Audit) { right(a); a.Order("a", 11, Order{2, "y", 6}); a.Order("a", 11, Order{2, "y", 6}) },
			func(r AuditResult) int { return r.Twice }},
		"deleted": {func(a *Audit) { right(a); a.Order("a", 11, Order{2, "y", 6}); a.Customer("b", 3, "three") },
			func(r AuditResult) int { return r.Extra }},
		"never written": {func(a *Audit) { right(a); a.Order("a", 11, Order{2, "y", 6}); a.Customer("a", 4, "four") },
			func(r AuditResult) int { return r.Extra }},
	} {
		t.Run(name, func(t *testing.T) {
			a := filled().Audit(parity)
			c.feed(a)
			r := a.Finish()
			require.False(t, r.OK())
			require.Equal(t, 1, c.want(r), "%+v", r)
			require.NotEmpty(t, r.Samples)
		})
	}
}

func TestAuditOfUnknownOutcomes(t *testing.T) {
	fill := func() *Ledger {
		l := filled()
		l.Unknown(Write{IsOrder: true, OrderID: 11, Order: Order{2, "y", 7}})
		l.Unknown(Write{IsOrder: true, Order: Order{1, "lost", 1}})
		return l
	}
	base := func(a *Audit) {
		a.Customer("b", 1, "one")
		a.Customer("a", 2, "two")
		a.Order("b", 10, Order{1, "x", 5})
	}
	for _, price := range []int64{6, 7} {
		a := fill().Audit(parity)
		base(a)
		a.Order("a", 11, Order{2, "y", price})
		require.True(t, a.Finish().OK(), "either outcome holds")
	}
	a := fill().Audit(parity)
	base(a)
	a.Order("a", 11, Order{2, "y", 8})
	require.Equal(t, 1, a.Finish().Wrong, "a third state does not")

	a = fill().Audit(parity)
	base(a)
	a.Order("a", 11, Order{2, "y", 6})
	a.Order("b", 20, Order{1, "lost", 1})
	a.Order("b", 21, Order{1, "lost", 1})
	require.Equal(t, 1, a.Finish().Extra, "a lost insert may be there once, not twice")
}
