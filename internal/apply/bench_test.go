package apply

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// idleSession does nothing, at once.
type nothing struct{ sent bool }

func (n *nothing) Add(context.Context, *rows.View, *vstream.Transaction) error { return nil }
func (n *nothing) AddRows(context.Context, *rows.Table, []rowimage.Row) error  { return nil }
func (n *nothing) Flush(context.Context) error                                 { return nil }
func (n *nothing) Commit(context.Context, ...string) error                     { return nil }
func (n *nothing) Rollback(context.Context) error                              { return nil }
func (n *nothing) Sent() bool                                                  { return false }
func (n *nothing) Single(bool)                                                 {}
func (n *nothing) CheckForeignKeys(context.Context, bool) error                { return nil }
func (n *nothing) Conn() *sqlconn.Conn                                         { return nil }
func (n *nothing) ID() uint32                                                  { return 1 }
func (n *nothing) LockWait(context.Context, uint32) (bool, error)              { return false, nil }
func (n *nothing) Close()                                                      {}

// BenchmarkCoordinator is what a transaction of three updates costs beside MySQL: its dependencies, its place in a group, its commit's
// statements.
func BenchmarkCoordinator(b *testing.B) {
	for _, order := range []Order{Preserve, Relaxed} {
		b.Run(order.String(), func(b *testing.B) {
			a := New(Config{Order: order, SaveLane: func(l Lane) string { return l.GTIDs }, SaveBase: func(base Base) string { return base.Position.String() },
				open: func(context.Context, int) (session, error) { return &nothing{}, nil },
				exec: func(context.Context, string) error { return nil }}, gtid.MustParse(server+":1"))
			defer a.Close()
			def := simDef(false)
			table, err := NewTable(def, def, nil)
			require.NoError(b, err)
			a.SetTable(1, table)
			txs := make([]*vstream.Transaction, b.N)
			for i := range txs {
				tx := &vstream.Transaction{GTID: server + ":" + strconv.Itoa(i+2), CommitUS: 1, Last: true}
				for j := range 3 {
					id := []byte(fmt.Sprint((i*7919 + j*104729) % 400000))
					tx.Changes = append(tx.Changes, vstream.Change{TableID: 1, Op: vstream.Update, Before: rowimage.Row{id, nil, []byte("1")}, After: rowimage.Row{id, nil, []byte("2")}})
				}
				txs[i] = tx
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, tx := range txs {
				if err := a.Add(b.Context(), tx); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, a.Drain(b.Context()))
			b.StopTimer()
			s := a.Status()
			b.ReportMetric(float64(s.Transactions)/float64(s.Groups), "transactions/group")
		})
	}
}
