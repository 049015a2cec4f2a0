package apply

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
	"braid/internal/vstream"
)

// The earlier transaction waits for a row that the later one holds, while that waits for its turn to commit. The server sees no
// deadlock. The later one gives way in well under a second, whether or not the account may see lock waits.
func TestLaterTransactionGivesWay(t *testing.T) {
	for _, sees := range []bool{true, false} {
		t.Run(fmt.Sprintf("sees=%t", sees), func(t *testing.T) {
			b := newBed(t, Strict)
			b.exec("CREATE TABLE parent (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO parent VALUES (5,0)",
				"INSERT INTO t (id,v,k) VALUES (1,'a',0)", "ALTER TABLE t ADD KEY k (k)")
			defs, err := schema.Load(t.Context(), b.conn, b.cfg.DB, []string{"parent"})
			require.NoError(t, err)
			parent, err := NewTable(defs[0], defs[0], nil)
			require.NoError(t, err)
			parent.Mode = Strict
			// The tracker does not know of this one: a child that comes locks its parent's row.
			b.exec("SET SESSION foreign_key_checks=0", "ALTER TABLE t ADD FOREIGN KEY (k) REFERENCES parent (id)", "SET SESSION foreign_key_checks=1")
			if !sees {
				mysqldtest.Exec(t, b.srv, "DROP USER IF EXISTS blind", "CREATE USER blind IDENTIFIED BY 'blind'", "GRANT ALL ON "+b.cfg.DB+".* TO blind")
				b.cfg.User, b.cfg.Password = "blind", "blind"
			}
			b.change.Workers, b.change.GroupTransactions = 3, 1
			b.open()
			b.ap.SetTable(2, parent)
			require.NoError(t, b.ap.CheckForeignKeys(t.Context(), true))

			b.exec("BEGIN", "UPDATE t SET k=k WHERE id=1")
			first := b.tx(upd("1 a 0 1", "1 b 5 6"))
			first.Changes = append(first.Changes, vstream.Change{TableID: 2, Op: vstream.Update, Before: row("5 0"), After: row("5 1")})
			b.add(first, b.tx(ins("2 a 5 6")), b.tx(ins("3 a 5 6")))
			require.Eventually(t, func() bool { // both later ones have executed and wait
				waiting := 0
				for _, l := range b.ap.Status().Lanes {
					if l.Waits && l.Group == 1 {
						waiting++
					}
				}
				return waiting == 2
			}, 10*time.Second, time.Millisecond)
			began := time.Now()
			b.exec("ROLLBACK")
			require.NoError(t, b.drain())
			took := time.Since(began)
			s := b.ap.Status()
			t.Logf("solved in %s, %d gave way, %d repeated", took, s.Victims, s.Repeats)
			require.Less(t, took, time.Second)
			require.Positive(t, s.Victims)
			require.Zero(t, s.Repeats, "no lock timeout, no deadlock")
			require.Equal(t, "1b,2a,3a", b.one("SELECT GROUP_CONCAT(id,v ORDER BY id) FROM t"))
			require.Equal(t, "1", b.one("SELECT n FROM parent"))
			require.Equal(t, server+":1-3", b.position().String())
			require.Equal(t, "3", b.applied())
		})
	}
}

// A statement of somebody else waits until the later transaction releases a table, and the earlier one waits for that table behind the statement.
func TestLaterTransactionGivesWayToDDL(t *testing.T) {
	b := newBed(t, Strict)
	b.exec("CREATE TABLE slow (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO t (id,v,k) VALUES (1,'a',0)",
		"CREATE TRIGGER wait BEFORE INSERT ON slow FOR EACH ROW SET NEW.n = NEW.n + SLEEP(1)")
	defs, err := schema.Load(t.Context(), b.conn, b.cfg.DB, []string{"slow"})
	require.NoError(t, err)
	slow, err := NewTable(defs[0], defs[0], nil)
	require.NoError(t, err)
	slow.Mode = Strict
	b.change.Workers, b.change.GroupTransactions = 2, 1
	b.open()
	b.ap.SetTable(2, slow)

	first := b.tx()
	first.Changes = append(first.Changes, vstream.Change{TableID: 2, Op: vstream.Insert, After: row("1 0")},
		vstream.Change{TableID: 1, Op: vstream.Update, Before: row("1 a 0 1"), After: row("1 b 0 1")})
	b.add(first, b.tx(ins("2 a 5 6")))
	require.Eventually(t, func() bool { // the later one has executed and waits
		lanes := b.ap.Status().Lanes
		return len(lanes) == 2 && (lanes[0].Waits || lanes[1].Waits)
	}, 10*time.Second, time.Millisecond)
	altered := make(chan error, 1)
	other := mysqldtest.Dial(t, b.cfg)
	go func() {
		_, err := other.Exec(t.Context(), "ALTER TABLE t ADD KEY k (k), LOCK=EXCLUSIVE")
		altered <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, b.ap.Drain(ctx))
	require.NoError(t, <-altered)
	require.Equal(t, "1b,2a", b.one("SELECT GROUP_CONCAT(id,v ORDER BY id) FROM t"))
	require.Positive(t, b.ap.Status().Victims)
	require.Equal(t, "2", b.applied())
}
