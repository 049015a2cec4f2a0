package replicate

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// A stream that cannot know that an XA transaction is prepared stops at its XA COMMIT, and what it then says helps.
func TestXACommitOfWhatWasPreparedBefore(t *testing.T) {
	w := newWorld(t)
	w.fill()
	user := "x" + w.db[max(0, len(w.db)-12):]
	w.source.exec("CREATE USER "+user+" IDENTIFIED BY 'x'", "GRANT SELECT, RELOAD, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO "+user)
	t.Cleanup(func() {
		conn, err := sqlconn.Dial(context.Background(), w.source.Root())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Exec(context.Background(), "DROP USER "+user)
		require.NoError(t, err)
	})
	w.cfg.Source.User, w.cfg.Source.Password = user, "x"
	other := w.source.another("XA START '"+w.db+"'", "UPDATE "+w.db+".item SET qty=-7 WHERE id<50", "XA END '"+w.db+"'", "XA PREPARE '"+w.db+"'")
	r := w.start()
	r.running()
	_, err := other.Exec(t.Context(), "XA COMMIT '"+w.db+"'")
	require.NoError(t, err)
	err = r.wait()
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "prepared before the stream's position")
	todo := steps(t, err)
	require.Contains(t, todo[0], "GRANT XA_RECOVER_ADMIN ON *.* TO")

	w.source.exec("GRANT XA_RECOVER_ADMIN ON *.* TO " + user)
	w.target.exec("DROP DATABASE "+w.db, "DROP DATABASE "+w.db2, sqlOf(todo[1], "DELETE"))
	r = w.start()
	r.running()
	r.catchUp()
	w.equal(w.db+".item", w.db+".note")
	require.NoError(t, r.stop())
}

// sqlOf is the statement in a step that begins with a word.
func sqlOf(step, word string) string {
	_, sql, _ := strings.Cut(step, word)
	sql, _, _ = strings.Cut(sql, ";")
	return word + sql
}

// The target becomes read-only while tables are made.
func TestTargetBecomesReadOnlyWhileTablesAreMade(t *testing.T) {
	source, db := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{})
	w := worldOf(t, source, target, db)
	w.fill()
	var log lockedBuffer
	var says atomic.Pointer[string]
	var tries atomic.Int64
	h := meanwhile{slog.NewTextHandler(&log, nil), "table made on the target", new(sync.Once), func() { w.target.exec("SET GLOBAL super_read_only=ON") }}
	cfg := w.cfg
	cfg.Once = true
	require.NoError(t, Run(t.Context(), cfg, Deps{Log: slog.New(h), Report: func(s Status) {
		if s.State == "Init" && s.Message != "" {
			if tries.Add(1) == 2 { // once by the statement, once by the check
				w.target.exec("SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
				says.Store(&s.Message)
			}
		}
	}}), &log)
	require.NotNil(t, says.Load())
	require.Contains(t, *says.Load(), "read_only")
	require.Contains(t, *says.Load(), "=OFF")
	w.equal(w.db+".item", w.db+".note", w.db2+".item", w.db2+".note")
}

// The target takes no more sessions when the run begins.
func TestTooManySessionsAtTheBeginning(t *testing.T) {
	source, db := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{})
	w := worldOf(t, source, target, db)
	w.fill()
	user := "m" + w.db[max(0, len(w.db)-12):]
	w.target.exec("CREATE USER "+user+" IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1", "GRANT ALL ON *.* TO "+user)
	w.cfg.Target.User, w.cfg.Target.Password = user, "x"
	mysqldtest.Dial(t, w.cfg.Target)
	r := w.start()
	r.says("max_user_connections", "end some")
	w.target.exec("ALTER USER " + user + " WITH MAX_USER_CONNECTIONS 0")
	r.running()
	w.equal(w.db + ".item")
	require.NoError(t, r.stop())
}

// A session of the same run that the server takes for alive is ended; that of another run is not.
func TestOwnSessionThatWasCutOff(t *testing.T) {
	w := newWorld(t)
	begin := func(mark string) *replication {
		r := &replication{cfg: w.cfg, mark: mark}
		r.admin = mysqldtest.Dial(t, w.target.Root())
		return r
	}
	first, again, stranger := begin(w.db+"_1"), begin(w.db+"_1"), begin(w.db+"_2")
	require.NoError(t, first.lock(t.Context()))
	err := stranger.lock(t.Context())
	require.ErrorIs(t, err, errs.StreamInUse)
	require.False(t, stranger.passes(err))
	err = again.lock(t.Context())
	require.ErrorIs(t, err, errs.StreamInUse)
	require.True(t, again.passes(err))
	require.Contains(t, trouble(err), "that was cut off has the lock, and is ended")
	require.NoError(t, again.lock(t.Context()))
	_, err = first.admin.Exec(context.Background(), "DO 1")
	require.Error(t, err, "its session is gone")
}

// The session that holds the stream's name ends while the stream runs: it is taken again, so no other process can begin. If one was quicker, this one ends.
func TestLockOfTheNameIsKept(t *testing.T) {
	w := newWorld(t)
	w.fill()
	r := w.start()
	r.running()
	lock := "'braid_replicate_" + w.cfg.Name + "'"
	holder := func() string { return w.target.one("SELECT IS_USED_LOCK(" + lock + ")") }
	first := holder()
	w.target.exec("KILL " + first)
	require.Eventually(t, func() bool { h := holder(); return h != "" && h != first }, time.Minute, 20*time.Millisecond)
	require.ErrorIs(t, w.run(once), errs.StreamInUse)
	second := holder()
	other := w.target.another()
	w.target.exec("KILL " + second)
	_, err := other.Query(t.Context(), "SELECT GET_LOCK("+lock+", 10)")
	require.NoError(t, err)
	require.ErrorIs(t, r.wait(), errs.StreamInUse)
}
