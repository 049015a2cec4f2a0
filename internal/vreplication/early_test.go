package vreplication

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/throttle"
)

// The last chunk is committed ahead of a change that came before it, and the process dies. The row of that change is not on the target, because
// the chunk left it out, or read that it was gone. The next run must not take that for a divergence.
func TestNotStrictBeforeWhatCameBefore(t *testing.T) {
	w := newWorld(t, nil, source1)
	var pressure atomic.Int64
	pressure.Store(100)
	w.probes = func(string, string, throttle.Limits) []throttle.Probe { return []throttle.Probe{gauge{&pressure}} }
	w.restart()
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE item (id int PRIMARY KEY, v int)")
	}
	src.exec("INSERT INTO item VALUES (1,1), (2,2), (3,3), (4,4)")
	_, err := w.engine.Put(t.Context(), Spec{Workflow: "w", Keyspace: "src", Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{{Table: "/.*"}}}, OnDDL: DDLExec, Workers: 4})
	require.NoError(t, err)
	w.await(Copying)
	src.exec("CREATE TABLE other (id int PRIMARY KEY, v int)") // it is not copied
	w.catchUp()
	lock := mysqldtest.Dial(t, w.target.Root().WithDB(w.target.db))
	for _, sql := range []string{"BEGIN", "SELECT * FROM other FOR UPDATE"} { // nothing can be inserted there
		_, err := lock.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	src.exec("BEGIN", "DELETE FROM item WHERE id=2", "UPDATE item SET v=30 WHERE id=3", "DELETE FROM item WHERE id=3", "INSERT INTO other VALUES (1,1)", "COMMIT")
	pressure.Store(0)
	require.Eventually(t, func() bool { return w.target.one("SELECT COUNT(*) FROM item") == "2" }, time.Minute, 10*time.Millisecond, "the chunk goes ahead")
	w.engine.Stop()
	require.Eventually(t, func() bool { // the session that waits for the lock has given up
		return w.target.one("SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state='LOCK WAIT'") == "0"
	}, time.Minute, 100*time.Millisecond)
	w.start()
	w.await(Copying)
	_, err = lock.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	w.await(Running)
	src.exec("INSERT INTO item VALUES (2,5)")
	w.catchUp()
	w.equal("src/0", "item", "other")
}
