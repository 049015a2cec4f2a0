package apply

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"

	"braid/internal/apply/rows"
	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

type lanesSession struct {
	id   uint32
	lane int
	gate func(gtid string) // blocks
	mine []string
	done func(string)
}

func (s *lanesSession) Add(_ context.Context, _ *rows.View, tx *vstream.Transaction) error {
	s.mine = append(s.mine, tx.GTID)
	return nil
}
func (s *lanesSession) AddRows(context.Context, *rows.Table, []rowimage.Row) error { return nil }
func (s *lanesSession) Flush(context.Context) error                                { return nil }
func (s *lanesSession) Commit(context.Context, ...string) error {
	for _, g := range s.mine {
		s.gate(g)
		s.done(g)
	}
	s.mine = nil
	return nil
}
func (s *lanesSession) Rollback(context.Context) error                 { return nil }
func (s *lanesSession) Sent() bool                                     { return false }
func (s *lanesSession) Single(bool)                                    {}
func (s *lanesSession) CheckForeignKeys(context.Context, bool) error   { return nil }
func (s *lanesSession) Conn() *sqlconn.Conn                            { return nil }
func (s *lanesSession) ID() uint32                                     { return s.id }
func (s *lanesSession) LockWait(context.Context, uint32) (bool, error) { return false, nil }
func (s *lanesSession) Close()                                         {}

// The server refuses a session for a moment. Nobody waits for a worker above the bound that is idle, and later there are as many as before.
func TestFewerSessions(t *testing.T) {
	for _, order := range []Order{Preserve, Relaxed} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gates := map[string]chan struct{}{}
				committed := map[string]time.Time{}
				full, told := false, 0
				a := New(Config{
					Workers: 3, Order: order, GroupTransactions: 1,
					SaveLane: func(l Lane) string { return "lane" }, SaveBase: func(Base) string { return "base" },
					Fewer: func(err error, workers int) { told++ },
					exec:  func(context.Context, string) error { return nil },
					open: func(_ context.Context, lane int) (session, error) {
						if full && lane > 0 {
							return nil, fmt.Errorf("connect: %w", &mysql.MyError{Code: 1040, Message: "too many connections"})
						}
						return &lanesSession{id: uint32(lane + 1), lane: lane, gate: func(g string) {
							if c := gates[g]; c != nil {
								<-c
							}
						}, done: func(g string) { committed[g] = time.Now() }}, nil
					},
				}, gtid.Set{})
				defer a.Close()
				def := simDef(true)
				table, err := NewTable(def, def, nil)
				require.NoError(t, err)
				table.Mode = Strict
				a.SetTable(1, table)
				n := 0
				add := func(gated bool) string {
					n++
					g := fmt.Sprintf("%s:%d", server, n)
					if gated {
						gates[g] = make(chan struct{})
					}
					require.NoError(t, a.Add(t.Context(), &vstream.Transaction{GTID: g, Last: true, Changes: []vstream.Change{{TableID: 1, Op: vstream.Insert, After: rowimage.Row{[]byte(strconv.Itoa(n)), nil, []byte("1")}}}}))
					time.Sleep(10 * time.Millisecond)
					synctest.Wait()
					return g
				}
				g1, g2, g3 := add(true), add(true), add(true)
				close(gates[g1])
				close(gates[g2])
				time.Sleep(idleSession + time.Second) // lanes 0 and 1 close, lane 2 is at work
				synctest.Wait()
				require.Len(t, a.Status().Lanes, 1)
				full = true                    // max_connections
				g4, _ := add(true), add(false) // lane 0 opens, lane 1 does not
				require.Equal(t, 1, a.Status().Workers)
				require.Equal(t, 1, told)
				close(gates[g3])
				close(gates[g4])
				synctest.Wait()
				full = false
				time.Sleep(time.Second)
				synctest.Wait()
				began := time.Now()
				g5 := add(false)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				require.Less(t, committed[g5].Sub(began), time.Second)
				add(false)
				require.Equal(t, 3, a.Status().Workers, "the server is asked again")
			})
		})
	}
}
