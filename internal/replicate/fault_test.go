package replicate

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// steps are what an error says is to be done.
func steps(t *testing.T, err error) []string {
	t.Helper()
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	return e.NextSteps()
}

func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	w := newWorld(t)
	w.fill()
	for name, c := range map[string]struct {
		change func(*Config)
		want   error
		text   string
	}{
		"no such table":    {func(c *Config) { c.Selection.Tables = []string{w.db + ".nope"} }, errs.BadInput, "table " + w.db + ".nope"},
		"no such database": {func(c *Config) { c.Selection.Databases = []string{"nope"} }, errs.BadInput, "database nope"},
		"nothing selected": {func(c *Config) { c.Selection.IgnoreTables = []string{"*.*"} }, errs.BadInput, "has no table on the source"},
		"the same server":  {func(c *Config) { c.Target = c.Source }, errs.TargetPrecondition, "another server than the source"},
		"two into one":     {func(c *Config) { c.Selection.Rename = []string{w.db2 + ".*=" + w.db + ".*"} }, errs.BadInput, "would both become"},
		"unknown column":   {func(c *Config) { c.Selection.Where = []string{w.db + ".item:nope = 1"} }, errs.BadInput, `no column "nope"`},
		"no server":        {func(c *Config) { c.Target.Addr = "127.0.0.1:1" }, errs.MySQLUnreachable, "target"},
		"bad options":      {func(c *Config) { c.Workers, c.MaxTPS = -1, -1 }, errs.BadInput, "--max-tps"},
	} {
		err := w.run(c.change)
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, c.text, name)
	}
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '"+w.db+"%'"))
}

func TestTablesThatCannotBeReplicated(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".nokey (a int, b int)", "CREATE TABLE "+w.db+".heap (id int PRIMARY KEY) ENGINE=MyISAM")
	err := w.run(once)
	require.ErrorIs(t, err, errs.NoPrimaryKey)
	w.source.exec(strings.TrimPrefix(steps(t, err)[0], "on the source: "))
	err = w.run(once)
	require.ErrorIs(t, err, errs.SourcePrecondition)
	w.source.exec(strings.TrimPrefix(steps(t, err)[0], "on the source: "))
	require.NoError(t, w.run(once))
}

func TestTargetTablesThatAreThere(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.target.exec("CREATE DATABASE "+w.db,
		"CREATE TABLE "+w.db+".item (id bigint PRIMARY KEY, added int DEFAULT 7, name varchar(60) NOT NULL, qty int, KEY q (qty), UNIQUE KEY name (name)) CHARACTER SET utf8mb4",
		"INSERT INTO "+w.db+".item VALUES (1000000, 1, 'mine', 1)",
		"CREATE TABLE "+w.db+".note (region varchar(30) NOT NULL, seq int NOT NULL, body varbinary(200), at timestamp(3) NULL, must int NOT NULL, PRIMARY KEY (region, seq))")
	err := w.run(once)
	require.ErrorIs(t, err, errs.TableDiffers)
	require.ErrorContains(t, err, "varchar(30)")
	require.ErrorContains(t, err, "must")
	w.target.exec("DROP TABLE " + w.db + ".note")
	err = w.run(once)
	require.ErrorIs(t, err, errs.TargetNotEmpty)
	require.Contains(t, strings.Join(steps(t, err), "\n"), "TRUNCATE TABLE `"+w.db+"`.`item`;")
	w.target.exec("CREATE TRIGGER " + w.db + ".tr BEFORE INSERT ON " + w.db + ".item FOR EACH ROW SET NEW.added=NEW.added+1")
	err = w.run(once, func(c *Config) { c.AllowNonEmpty = true })
	require.ErrorIs(t, err, errs.TargetPrecondition)
	w.target.exec(strings.TrimPrefix(steps(t, err)[0], "on the target: "))
	require.NoError(t, w.run(once, func(c *Config) { c.AllowNonEmpty = true }))
	require.Equal(t, "1", w.target.one("SELECT added FROM "+w.db+".item WHERE id=1000000"))
	require.Equal(t, "500", w.target.one("SELECT COUNT(*) FROM "+w.db+".item WHERE added=7"))
	w.equal(w.db + ".note")

	err = w.run(once, func(c *Config) { c.Name += "2" })
	require.ErrorIs(t, err, errs.TargetNotEmpty, "another stream writes there")
	require.ErrorContains(t, err, "is written by the stream "+w.db)
}

func TestOneProcessForAName(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.start().running()
	require.ErrorIs(t, w.run(once), errs.StreamInUse)
}

// An account that lacks privileges is told the statements that give them, and these are enough.
func TestPrivileges(t *testing.T) {
	w := newWorld(t)
	w.fill()
	user := "p" + w.db[:8]
	w.target.exec("CREATE USER " + user + " IDENTIFIED BY 'o''dd:@/('")
	w.source.exec("CREATE USER " + user + " IDENTIFIED BY 'o''dd:@/('")
	t.Cleanup(func() {
		for _, s := range []*side{w.source, w.target} {
			conn, err := sqlconn.Dial(t.Context(), s.Root())
			if err == nil {
				conn.Exec(t.Context(), "DROP USER "+user) //nolint:errcheck // the servers end with the tests
				conn.Close()
			}
		}
	})
	account := func(c *Config) {
		for _, cfg := range []*sqlconn.Config{&c.Source, &c.Target} {
			cfg.User, cfg.Password = user, "o'dd:@/("
		}
	}
	for range 10 {
		err := w.run(once, account)
		if err == nil {
			break
		}
		var e *errs.Error
		require.ErrorAs(t, err, &e, "%v", err)
		switch {
		case errors.Is(err, errs.SourcePrecondition):
			w.source.exec(e.NextSteps()...)
		case errors.Is(err, errs.TargetPrecondition):
			w.target.exec(e.NextSteps()...)
		case errors.Is(err, errs.BadInput): // it sees no table of the source
			w.source.exec("GRANT SELECT ON "+w.db+".* TO "+user, "GRANT SELECT ON "+w.db2+".* TO "+user)
		default:
			require.NoError(t, err)
		}
	}
	w.equal(w.db+".item", w.db2+".note")
	w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
	require.NoError(t, w.run(once, account), "rows are written without BINLOG_ADMIN")
	w.equal(w.db + ".item")
	// What is advised is enough for row events.
	target := w.cfg.Target
	target.User, target.Password = user, "o'dd:@/("
	conn := mysqldtest.Dial(t, target)
	all, err := CheckTarget(t.Context(), conn, "", nil)
	require.NoError(t, err)
	advised := 0
	for _, p := range all {
		if p.Status == binlog.Advised {
			advised++
			w.target.exec(p.Remedy)
		}
	}
	require.Equal(t, 2, advised)
	w.source.exec("UPDATE "+w.db+".item SET qty=-2 WHERE id<300", "DELETE FROM "+w.db+".item WHERE id>300")
	r := w.start(account)
	r.catchUp()
	w.equal(w.db + ".item")
	for _, wr := range r.status().Writers {
		require.Equal(t, "native", wr.Writer, "%+v", wr)
	}
	require.NoError(t, r.stop())
}

// kill ends all sessions on a server but the test's own.
func (s *side) kill(spare ...string) int {
	res, err := s.conn.Query(s.t.Context(), "SHOW PROCESSLIST")
	require.NoError(s.t, err)
	killed := 0
	for _, row := range res.Rows {
		if id := string(row[0]); id == fmt.Sprint(s.conn.ID()) || slices.Contains(spare, id) || slices.Contains([]string{"event_scheduler", "system user"}, string(row[1])) {
			continue
		}
		killed++
		if _, err := s.conn.Exec(s.t.Context(), "KILL "+string(row[0])); err != nil {
			require.Equal(s.t, uint16(1094), sqlconn.ErrCode(err), err)
		}
	}
	return killed
}

// What passes by itself is waited for, and then both sides are equal.
func TestTroubleThatPasses(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.target.exec("SET GLOBAL sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_DATE', GLOBAL time_zone='+05:30', GLOBAL foreign_key_checks=1")
	defer w.target.exec("SET GLOBAL sql_mode=DEFAULT, GLOBAL time_zone='SYSTEM', GLOBAL super_read_only=OFF, GLOBAL read_only=OFF")
	r := w.start()
	r.running()
	step := 0
	write := func() {
		step++
		w.source.exec(fmt.Sprintf("UPDATE %s.item SET qty=%d WHERE id<200", w.db, -step), fmt.Sprintf("INSERT INTO %s.note VALUES ('it''s \\\\\" %d', %d, x'00', '2026-07-01 12:00:00.5')", w.db2, step, step))
	}
	all := []string{w.db + ".item", w.db2 + ".note"}
	write()
	r.catchUp()
	w.equal(all...)

	for range 3 { // by a DBA
		write()
		require.Positive(t, w.target.kill())
		write()
		require.Positive(t, w.source.kill())
		r.catchUp()
		w.equal(all...)
	}

	w.target.exec("SET GLOBAL super_read_only=ON")
	write()
	r.says("read-only", "SET GLOBAL super_read_only=OFF")
	w.target.exec("SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
	r.catchUp()
	w.equal(all...)

	require.NoError(t, r.stop())
}

// The target is killed while tables are made there, and comes back.
func TestTargetRestartsWhileTablesAreMade(t *testing.T) {
	source, db := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{Durable: true})
	w := worldOf(t, source, target, db)
	w.fill()
	var log lockedBuffer
	h := meanwhile{slog.NewTextHandler(&log, nil), "table made on the target", new(sync.Once), func() {
		target.Kill()
		<-target.Done()
		w.source.exec("ALTER TABLE " + w.db + ".item ADD COLUMN more int") // it is the one that was made
	}}
	h = meanwhile{h, "cannot begin yet, it is tried again", new(sync.Once), func() { require.NoError(t, target.Start(t.Context())) }}
	cfg := w.cfg
	cfg.Once = true
	var waited atomic.Bool
	require.NoError(t, Run(t.Context(), cfg, Deps{Log: slog.New(h), Report: func(s Status) {
		if s.State == "Init" && s.Message != "" {
			waited.Store(true)
		}
	}}), &log)
	require.True(t, waited.Load(), "the status says so")
	w.target.again()
	w.equal(w.db+".item", w.db+".note", w.db2+".item", w.db2+".note")
}

// Servers that are killed and come back.
func TestServersRestart(t *testing.T) {
	source, target := mysqldtest.New(t, mysqldtest.Options{Durable: true}), mysqldtest.New(t, mysqldtest.Options{Durable: true})
	w := worldOf(t, source, target, "app")
	w.fill()
	r := w.start()
	r.running()
	for i := range 2 {
		w.source.exec(fmt.Sprintf("UPDATE app.item SET qty=%d", -i-1))
		target.Kill()
		<-target.Done()
		w.source.exec("INSERT INTO app.note VALUES ('k', " + fmt.Sprint(10+i) + ", '', NULL)")
		require.NoError(t, target.Start(t.Context()))
		w.target.again()
		r.catchUp()
		w.equal("app.item", "app.note")
		source.Kill()
		<-source.Done()
		require.NoError(t, source.Start(t.Context()))
		w.source.again()
		w.source.exec(fmt.Sprintf("DELETE FROM app.item WHERE id=%d", 1+i))
		r.catchUp()
		w.equal("app.item", "app.note")
	}
	require.NoError(t, r.stop())
}
