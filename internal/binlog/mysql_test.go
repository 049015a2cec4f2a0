package binlog

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

func dial(t *testing.T, srv *mysqld.Server, db string) *sqlconn.Conn {
	conn, err := sqlconn.Dial(t.Context(), srv.Root().WithDB(db))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec(t *testing.T, conn *sqlconn.Conn, sqls ...string) {
	t.Helper()
	for _, sql := range sqls {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
}

// readUntil returns the transactions and DDLs after a position, up to what is executed now.
func readUntil(t *testing.T, srv *mysqld.Server, conn *sqlconn.Conn, from gtid.Set, db string) ([]Event, error) {
	t.Helper()
	until, _, err := Executed(t.Context(), conn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := Open(ctx, Config{DB: srv.Repl(), Position: from, Follow: func(d, _ string) bool { return d == db }})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []Event
	for pos := from; !pos.Contains(until); {
		ev, err := Next(ctx, r)
		if err != nil {
			return out, err
		}
		switch ev := ev.(type) {
		case *Transaction:
			out = append(out, ev)
			if ev.Last {
				require.NoError(t, pos.Add(ev.GTID))
				if ev.Prepared != "" {
					require.NoError(t, pos.Add(ev.Prepared))
				}
			}
		case *DDL:
			out = append(out, ev)
			if !ev.Rows {
				require.NoError(t, pos.Add(ev.GTID))
			}
		}
	}
	end, err := End(ctx, conn)
	require.NoError(t, err)
	for at := (Coordinates{}); !at.Reaches(end); { // the end that the server names is reached without more writes
		ev, err := Next(ctx, r)
		require.NoError(t, err)
		if m, ok := ev.(*Mark); ok {
			at = m.End
		}
	}
	return out, nil
}

func executed(t *testing.T, conn *sqlconn.Conn) gtid.Set {
	set, _, err := Executed(t.Context(), conn)
	require.NoError(t, err)
	return set
}

// TestReadServer reads what a real server writes for the things that look different in the log.
func TestReadServer(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	from := executed(t, conn)
	exec(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)",
		"INSERT INTO t VALUES (1, 'a'), (2, 'b')",
		"BEGIN", "UPDATE t SET v = 'c' WHERE id = 1", "SAVEPOINT s", "DELETE FROM t WHERE id = 2", "ROLLBACK TO s", "COMMIT",
		"SET binlog_transaction_compression=ON", "INSERT INTO t VALUES (3, REPEAT('x', 100000))", "SET binlog_transaction_compression=OFF",
		"FLUSH BINARY LOGS",
		"INSERT INTO t VALUES (4, REPEAT('y', 3000000)), (5, REPEAT('z', 3000000))",
		"XA START 'one'", "INSERT INTO t VALUES (6, 'xa')", "XA END 'one'", "XA PREPARE 'one'",
		"XA COMMIT 'one'",
		"CREATE TABLE u AS SELECT id FROM t",
		"CREATE VIEW w AS SELECT 1",
		"TRUNCATE TABLE u",
		"DROP TABLE u")
	got, err := readUntil(t, srv, conn, from, db)
	require.NoError(t, err)

	var text []string
	for _, ev := range got {
		switch ev := ev.(type) {
		case *DDL:
			require.Equal(t, db, ev.Objects[0].DB)
			text = append(text, "ddl "+ev.Objects[0].Table)
		case *Transaction:
			line := "tx"
			if ev.Prepared != "" {
				line += " prepared"
			}
			for _, r := range ev.Rows {
				line += " " + r.Kind.String()
			}
			if !ev.Last {
				line += " …"
			}
			require.NotZero(t, ev.CommitUS)
			text = append(text, line)
		}
	}
	require.Equal(t, []string{
		"ddl t", "tx insert", "tx update", "tx insert", "tx insert …", "tx insert …", "tx",
		"tx prepared insert", "ddl u", "tx insert", "tx", "ddl u", "ddl u",
	}, text)
}

// TestTaggedGTIDs go through position, dump and resume.
func TestTaggedGTIDs(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	exec(t, conn, "CREATE TABLE t (id INT PRIMARY KEY)")
	from := executed(t, conn)
	exec(t, conn, "SET gtid_next='AUTOMATIC:braid'", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "SET gtid_next='AUTOMATIC'", "INSERT INTO t VALUES (3)")
	got, err := readUntil(t, srv, conn, from, db)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Contains(t, got[0].(*Transaction).GTID, ":braid:")
	require.NoError(t, from.Add(got[0].(*Transaction).GTID))
	got, err = readUntil(t, srv, conn, from, db)
	require.NoError(t, err)
	require.Len(t, got, 2, "the stream goes on behind a tagged transaction")
}

// TestHarmlessObjects: what the server writes for objects that are neither tables nor databases is passed.
func TestHarmlessObjects(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "")
	exec(t, conn, "CREATE DATABASE d", "USE d", "CREATE TABLE t (id INT PRIMARY KEY)")
	from := executed(t, conn)
	exec(t, conn, "CREATE VIEW v AS SELECT 1 AS a", "CREATE OR REPLACE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW v AS SELECT id FROM t", "ALTER VIEW v AS SELECT 2 AS a",
		"CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1", "CREATE PROCEDURE p() SELECT 1", "ALTER PROCEDURE p COMMENT 'x'",
		"CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1", "ALTER EVENT e COMMENT 'x'",
		"CREATE USER u", "CREATE ROLE r", "RENAME USER u TO w", "ALTER USER w ACCOUNT LOCK", "DROP USER w", "DROP ROLE r",
		"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')", "ALTER SERVER s OPTIONS (USER 'x')", "DROP SERVER s",
		"CREATE SPATIAL REFERENCE SYSTEM 990001 NAME 'x' DEFINITION 'GEOGCS[\"x\",DATUM[\"x\",SPHEROID[\"x\",6378137,298.25]],PRIMEM[\"x\",0],UNIT[\"x\",0.017453292519943278],AXIS[\"Lat\",NORTH],AXIS[\"Lon\",EAST]]'",
		"DROP SPATIAL REFERENCE SYSTEM 990001",
		"CREATE TABLESPACE s ADD DATAFILE 's.ibd'", "ALTER TABLESPACE s RENAME TO s2", "DROP TABLESPACE s2",
		"CREATE UNDO TABLESPACE undo_x ADD DATAFILE 'undo_x.ibu'", "ALTER UNDO TABLESPACE undo_x SET INACTIVE",
		"CREATE TEMPORARY TABLE tmp (a INT)", "DROP TEMPORARY TABLE tmp", "DROP TRIGGER tr", "DROP PROCEDURE p", "DROP FUNCTION f", "DROP EVENT e", "DROP VIEW v")
	got, err := readUntil(t, srv, conn, from, "d")
	require.NoError(t, err)
	for _, ev := range got {
		require.Empty(t, ev.(*Transaction).Rows)
	}
}

func TestRefusesStatements(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	exec(t, conn, "CREATE TABLE t (id INT PRIMARY KEY)")
	from := executed(t, conn)
	exec(t, conn, "SET binlog_format='STATEMENT'", "INSERT INTO t VALUES (1)")
	_, err := readUntil(t, srv, conn, from, db)
	var r *Refusal
	require.ErrorAs(t, err, &r)
	require.Contains(t, r.Reason, "INSERT INTO t VALUES (1)")
	require.NotEmpty(t, r.GTID)
}

// TestResume: B4.
func TestResume(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{})
	conn := dial(t, srv, "mysql")
	_, err := readUntil(t, srv, conn, gtid.MustParse("ffffffff-0000-0000-0000-000000000000:1-5"), "mysql")
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorContains(t, err, "ffffffff-0000-0000-0000-000000000000:1-5")

	before := executed(t, conn)
	exec(t, conn, "CREATE DATABASE gone", "FLUSH BINARY LOGS", "CREATE DATABASE kept", "FLUSH BINARY LOGS")
	end, err := End(t.Context(), conn)
	require.NoError(t, err)
	exec(t, conn, "PURGE BINARY LOGS TO "+sqlconn.Quote(end.File))
	_, err = readUntil(t, srv, conn, before, "mysql")
	require.ErrorIs(t, err, errs.BinlogPurged)
	require.ErrorContains(t, err, executed(t, conn).Subtract(before).String())
	_, err = readUntil(t, srv, conn, executed(t, conn), "mysql")
	require.NoError(t, err)
}

func TestCheck(t *testing.T) {
	srv, _ := mysqldtest.Shared(t)
	conn, err := sqlconn.Dial(t.Context(), srv.Repl())
	require.NoError(t, err)
	defer conn.Close()
	missing, err := Check(t.Context(), conn)
	require.NoError(t, err)
	require.Empty(t, missing)

	exec(t, dial(t, srv, "mysql"), "CREATE USER checked IDENTIFIED BY 'x'", "GRANT SELECT ON *.* TO checked")
	few, err := sqlconn.Dial(t.Context(), sqlconn.Config{Addr: srv.Addr(), User: "checked", Password: "x"})
	require.NoError(t, err)
	defer few.Close()
	missing, err = Check(t.Context(), few)
	require.NoError(t, err)
	require.Len(t, missing, 2)
	require.Contains(t, missing[0].Remedy, "GRANT REPLICATION SLAVE ON *.* TO 'checked'@'%'")
}

// TestCheckNames every setting with its remedy.
func TestCheckNames(t *testing.T) {
	missing := onlyMissing(checkVariables(map[string]string{
		"log_bin": "ON", "gtid_mode": "OFF", "enforce_gtid_consistency": "WARN", "binlog_format": "MIXED", "binlog_row_image": "MINIMAL",
		"binlog_row_value_options": "PARTIAL_JSON", "server_id": "0", "log_replica_updates": "OFF", // documents are made whole from their differences
		"binlog_row_metadata": "MINIMAL", "binlog_expire_logs_seconds": "60",
	}))
	var names []string
	for _, p := range missing {
		names = append(names, p.Name)
		require.NotEmpty(t, p.Remedy)
	}
	require.Equal(t, []string{"gtid_mode", "enforce_gtid_consistency", "binlog_format", "binlog_row_image",
		"log_replica_updates", "server_id"}, names)
	err := Preconditions("db:3306", missing)
	require.ErrorIs(t, err, errs.SourcePrecondition)
	require.ErrorContains(t, err, "binlog_format is MIXED, needs ROW")

	for version, ok := range map[string]bool{
		"8.0.30": true, "8.4.6": true, "9.7.0-er2": true, "26.10.1": true, "5.7.44-log": false, "11.4.2-MariaDB": false, "": false,
	} {
		require.Equal(t, ok, checkVersion(version).Status == OK, version)
	}
	require.Empty(t, privilegesMissing("u@%", []string{"GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `u`@`%`"}))
	require.Empty(t, privilegesMissing("u@%", []string{"GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION"}))
	require.Len(t, privilegesMissing("u@%", []string{"GRANT USAGE ON *.* TO `u`@`%`", "GRANT SELECT ON `d`.* TO `u`@`%`"}), 2)

	replication := "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `u`@`%`"
	for lines, want := range map[[2]string]string{ // of SELECT
		{}: "missing",
		{"GRANT SELECT ON *.* TO `u`@`%`", "REVOKE SELECT ON `secret`.* FROM `u`@`%`"}:                  "SELECT on *.*",
		{"GRANT INSERT ON `d`.* TO `u`@`%`", "GRANT SELECT ON `mysql`.* TO `u`@`%`"}:                    "missing",
		{"GRANT SELECT, INSERT ON `d`.* TO `u`@`%`", "GRANT INSERT, SELECT ON `e`.`t` TO `u`@`%`"}:      "SELECT on `d`.*, `e`.`t`",
		{"GRANT SELECT (`id`), INSERT (`a`, `b`) ON `d`.`t` TO `u`@`%`", "GRANT `role`@`%` TO `u`@`%`"}: "SELECT on `d`.`t`",
		{"GRANT ALL PRIVILEGES ON `d`.* TO `u`@`%` WITH GRANT OPTION"}:                                  "SELECT on `d`.*",
	} {
		all := checkPrivileges("u@%", append([]string{replication}, lines[:]...))
		require.Equal(t, SelectPrivilege, all[3].Want)
		require.Equal(t, want, all[3].Have, "%v", lines)
		require.Equal(t, want == "missing", all[3].Status == Missing)
		require.Equal(t, want == "missing", all[3].Remedy == "GRANT SELECT ON *.* TO 'u'@'%';")
	}
	all := checkPrivileges("u@%", []string{replication, "GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"})
	require.Equal(t, Advised, all[2].Status, "dynamic privileges are listed by themselves")
	require.Equal(t, "GRANT XA_RECOVER_ADMIN ON *.* TO 'u'@'%';", all[2].Remedy)
	all = checkPrivileges("u@%", []string{replication, "GRANT BINLOG_ADMIN,XA_RECOVER_ADMIN ON *.* TO `u`@`%`"})
	require.Equal(t, OK, all[2].Status)
}

func onlyMissing(all []Precondition) (missing []Precondition) {
	for _, p := range all {
		if p.Status == Missing {
			missing = append(missing, p)
		}
	}
	return missing
}

func privilegesMissing(account string, lines []string) []Precondition {
	return onlyMissing(checkPrivileges(account, lines))
}

// TestCut: a killed connection is an error after everything before it; Close ends all goroutines, also while the queue is full.
func TestCut(t *testing.T) {
	srv, db := mysqldtest.Shared(t)
	conn := dial(t, srv, db)
	ignore := goleak.IgnoreCurrent()
	exec(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
	from := executed(t, conn)
	for id := range 20 {
		exec(t, conn, "INSERT INTO t VALUES ("+string(rune('0'+id/10))+string(rune('0'+id%10))+", REPEAT('x', 100000))")
	}
	open := func() Reader {
		r, err := Open(t.Context(), Config{DB: srv.Repl(), Position: from, Follow: func(string, string) bool { return true }, QueueBytes: 1 << 16})
		require.NoError(t, err)
		return r
	}
	r := open()
	ev, err := Next(t.Context(), r)
	require.NoError(t, err)
	require.NotNil(t, ev)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Poll()
	require.Error(t, err)

	r = open()
	n := 0
	for n < 20 {
		ev, err := Next(t.Context(), r)
		require.NoError(t, err)
		if tx, ok := ev.(*Transaction); ok && tx.Last {
			n++
		}
	}
	res, err := conn.Query(t.Context(), "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%' AND USER = 'braid_repl'")
	require.NoError(t, err)
	for _, row := range res.Rows {
		exec(t, conn, "KILL "+string(row[0]))
	}
	for err == nil {
		_, err = Next(t.Context(), r)
	}
	_, again := r.Poll()
	require.Equal(t, err, again)
	require.NoError(t, r.Close())
	goleak.VerifyNone(t, ignore)
}
