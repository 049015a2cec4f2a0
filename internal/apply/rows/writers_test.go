package rows

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage/rowimagetest"
	"braid/internal/vstream"
)

// TestWritersAllTypes: both writers leave every type as the source has it.
func TestWritersAllTypes(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(5, 6))
	var fill []string
	inexact := map[string]bool{} // tables with values that have no text form
	for i, pack := range packs(rowimagetest.Cases) {
		name := fmt.Sprintf("t%d", i)
		var columns, names []string
		rows := 0
		for j, c := range pack {
			inexact[name] = inexact[name] || c.NoWriteBack
			columns = append(columns, fmt.Sprintf("c%d %s", j, c.Type))
			rows = max(rows, len(c.Values)+3)
			if !strings.Contains(c.Type, "GENERATED") {
				names = append(names, fmt.Sprintf("c%d", j))
			}
		}
		s.exec(fmt.Sprintf("CREATE TABLE %s (id INT AUTO_INCREMENT PRIMARY KEY, n INT DEFAULT 7, %s)", name, strings.Join(columns, ", ")))
		for r := range rows {
			values := []string{fmt.Sprint(r)}
			for _, c := range pack {
				switch {
				case strings.Contains(c.Type, "GENERATED"):
					values[0] = c.Values[r%len(c.Values)]
				case r < len(c.Values):
					values = append(values, c.Values[r])
				case r == len(c.Values) && !strings.Contains(c.Type, "NOT NULL"):
					values = append(values, "NULL")
				case c.Random != nil:
					values = append(values, c.Random(rng))
				default:
					values = append(values, c.Values[0])
				}
			}
			fill = append(fill, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", name, strings.Join(append([]string{"n"}, names...), ","), strings.Join(values, ",")))
		}
		fill = append(fill, fmt.Sprintf("UPDATE %s SET id = id + 100000", name), fmt.Sprintf("UPDATE %s SET n = 8", name),
			fmt.Sprintf("DELETE FROM %s WHERE id %% 7 = 3", name))
	}
	all := []way{{mode: Strict, group: 1000}, {mode: Upsert, group: 3, single: true}, {sql: true, mode: Strict, group: 3, single: true}, {sql: true, mode: Upsert, group: 1000}}
	var copies []string
	for range all {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() { s.exec(fill...) })
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			if w.sql {
				for name := range inexact {
					if inexact[name] {
						delete(to.bound, name)
					}
				}
			}
			to.equal()
			ok, reason := to.session.Native()
			require.Equal(t, !w.sql, ok, reason)
			for name, table := range to.bound {
				writer, reason := table.Writer()
				require.Equal(t, "native", writer, "%s: %s", name, reason)
			}
		})
	}
}

// packs puts several types into one table, but for those that need a row for themselves.
func packs(cases []rowimagetest.Case) (all [][]rowimagetest.Case) {
	var pack []rowimagetest.Case
	for _, c := range cases {
		if c.NotWide || c.NoWriteBack || strings.Contains(c.Type, "GENERATED") {
			all = append(all, []rowimagetest.Case{c})
			continue
		}
		if pack = append(pack, c); len(pack) == 8 {
			all, pack = append(all, pack), nil
		}
	}
	if len(pack) > 0 {
		all = append(all, pack)
	}
	return all
}

// TestWritersShapes: tables of every shape are the source's in the end, whatever writes them, in whatever groups.
func TestWritersShapes(t *testing.T) {
	for _, tc := range []struct {
		name    string
		create  []string
		do      []string
		prepare []string // on the target
	}{
		{
			name: "places in a unique key change hands",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, u INT, v TEXT, UNIQUE (u))",
				"INSERT INTO t VALUES (1,1,'a'),(2,2,'b'),(3,3,'c'),(4,NULL,'d')"},
			do: []string{"BEGIN", "UPDATE t SET u=10 WHERE id=1", "UPDATE t SET u=1 WHERE id=2", "UPDATE t SET u=2 WHERE id=1", "COMMIT",
				"DELETE FROM t WHERE id=3", "INSERT INTO t VALUES (5,3,'e')", "UPDATE t SET u=NULL WHERE id=5", "UPDATE t SET u=3 WHERE id=4",
				"INSERT INTO t VALUES (6,6,'f')", "DELETE FROM t WHERE id=6", "INSERT INTO t VALUES (7,6,'g')", "DELETE FROM t WHERE id=7",
				"INSERT INTO t VALUES (6,6,'h')", "REPLACE INTO t VALUES (9,6,'i')", "UPDATE t SET v=CONCAT(v,'!')"},
		},
		{
			name: "keys change",
			create: []string{"CREATE TABLE t (a INT, b VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, v INT, PRIMARY KEY (a, b))",
				"INSERT INTO t VALUES (1,'x',1),(2,'x',2),(3,'y',3)"},
			do: []string{"UPDATE t SET b='X' WHERE a=1", "UPDATE t SET v=v+1 WHERE a=1", "UPDATE t SET b='x ' WHERE a=1", "UPDATE t SET a=a+10 ORDER BY a DESC",
				"UPDATE t SET a=a-10 ORDER BY a", "DELETE FROM t WHERE a=2", "INSERT INTO t VALUES (2,'é',7)", "UPDATE t SET b='E' WHERE a=2", "UPDATE t SET b='f', v=8 WHERE a=2"},
		},
		{
			name:   "rows come and go",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1,1),(2,2)"},
			do: []string{"INSERT INTO t VALUES (3,3)", "UPDATE t SET v=4 WHERE id=3", "DELETE FROM t WHERE id=3", "INSERT INTO t VALUES (3,5)", "DELETE FROM t WHERE id=3",
				"DELETE FROM t WHERE id=1", "INSERT INTO t VALUES (1,7)", "UPDATE t SET v=8 WHERE id=1", "DELETE FROM t WHERE id=2", "INSERT INTO t VALUES (2,9)", "DELETE FROM t WHERE id=2"},
		},
		{
			name: "updates of other columns each, of none, to NULL and back",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT, c BIT(3), d DATETIME NULL ON UPDATE CURRENT_TIMESTAMP, e JSON, f DECIMAL(5,2), g INT, h INT, i INT, UNIQUE (a, g))",
				"INSERT INTO t VALUES (1,1,'a',b'1',NULL,'{}',1.5,1,1,1),(2,2,NULL,NULL,'2001-01-01',NULL,NULL,NULL,NULL,NULL),(3,3,'','','2001-01-01','[]',0,0,0,0)"},
			do: []string{"UPDATE t SET a=a+1 ORDER BY id DESC", "UPDATE t SET b=NULL, c=NULL WHERE id=1", "UPDATE t SET b=REPEAT('b',70000), c=b'101' WHERE id=2", "UPDATE t SET h=NULL, i=NULL",
				"UPDATE t SET d='2002-02-02'", "UPDATE t SET e=JSON_OBJECT('x',id), f=-f, d=d", "UPDATE t SET h=id, i=id", "UPDATE t SET id=id+10 ORDER BY id DESC", "UPDATE t SET id=id-10, g=NULL, b='z' ORDER BY id",
				"UPDATE t SET i=5 WHERE id=1", "UPDATE t SET g=5 WHERE id=1", "BEGIN", "UPDATE t SET i=6 WHERE id=1", "UPDATE t SET i=5 WHERE id=1", "UPDATE t SET b='y' WHERE id=3", "COMMIT"},
		},
		{
			name: "generated columns, in keys too",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a+1) VIRTUAL, s VARCHAR(20) AS (CONCAT('s',a)) STORED, UNIQUE (g), KEY (s))",
				"INSERT INTO t (id,a) VALUES (1,1),(2,2)"},
			do: []string{"INSERT INTO t (id,a) VALUES (3,3)", "BEGIN", "UPDATE t SET a=9 WHERE id=1", "UPDATE t SET a=1 WHERE id=2", "UPDATE t SET a=2 WHERE id=1", "COMMIT", "DELETE FROM t WHERE a=3"},
		},
		{
			name: "functional and multi-valued keys",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), j JSON, UNIQUE ((LOWER(name))), UNIQUE ((CAST(j->'$' AS UNSIGNED ARRAY))))",
				"INSERT INTO t VALUES (1,'A','[1,2]'),(2,'B','[3]')"},
			do: []string{"BEGIN", "UPDATE t SET name='x', j='[9]' WHERE id=1", "UPDATE t SET name='a', j='[2]' WHERE id=2", "UPDATE t SET name='b', j='[1,3]' WHERE id=1", "COMMIT"},
		},
		{
			name:   "a generated invisible primary key",
			create: []string{"SET sql_generate_invisible_primary_key=1", "CREATE TABLE t (v INT, w INT INVISIBLE)", "SET sql_generate_invisible_primary_key=0", "INSERT INTO t (v,w) VALUES (1,2),(1,2)"},
			do:     []string{"INSERT INTO t (v,w) VALUES (3,4),(5,6)", "UPDATE t SET v=7 LIMIT 1", "DELETE FROM t WHERE v=5"},
		},
		{
			name:   "a key that is not the primary one",
			create: []string{"CREATE TABLE t (v INT, k VARCHAR(9) NOT NULL, w INT, UNIQUE (k), UNIQUE (w))", "INSERT INTO t VALUES (1,'a',1),(2,'b',2)"},
			do:     []string{"UPDATE t SET v=5", "UPDATE t SET w=3 WHERE k='a'", "UPDATE t SET w=1 WHERE k='b'", "DELETE FROM t WHERE k='a'", "INSERT INTO t VALUES (1,'a',NULL)"},
		},
		{
			name:   "AUTO_INCREMENT, and 0 in it",
			create: []string{"CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, w INT)"},
			do:     []string{"SET sql_mode='NO_AUTO_VALUE_ON_ZERO'", "INSERT INTO t (id) VALUES (0),(5)", "INSERT INTO t (v) VALUES (NULL)", "UPDATE t SET w=1, v='2001-01-01' WHERE id=0", "SET sql_mode=DEFAULT"},
		},
		{
			name: "foreign keys",
			create: []string{"CREATE TABLE p (id INT PRIMARY KEY, v INT)", "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))",
				"CREATE TABLE d (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)",
				"INSERT INTO p VALUES (1,1),(2,2),(3,3)", "INSERT INTO c VALUES (1,1)", "INSERT INTO d VALUES (2,2),(3,3)"},
			do: []string{"INSERT INTO p VALUES (4,4)", "INSERT INTO c VALUES (4,4)", "UPDATE c SET p=4 WHERE id=1", "DELETE FROM p WHERE id=1", "UPDATE p SET id=20 WHERE id=2",
				"DELETE FROM p WHERE id=20", "DELETE FROM c", "DELETE FROM p WHERE id=4", "SET foreign_key_checks=0", "DELETE FROM p WHERE id=3", "SET foreign_key_checks=1"},
		},
		{
			name:    "the target has more columns, and other indexes",
			create:  []string{"CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT)", "INSERT INTO t VALUES (1,1,1),(2,2,2)"},
			prepare: []string{"ALTER TABLE t ADD COLUMN more INT NOT NULL DEFAULT 5, ADD COLUMN seen TIMESTAMP NULL, ADD UNIQUE (w)", "UPDATE t SET more=6"},
			do: []string{"UPDATE t SET v=3", "INSERT INTO t VALUES (3,3,3)", "BEGIN", "UPDATE t SET w=9 WHERE id=1", "UPDATE t SET w=1 WHERE id=2", "UPDATE t SET w=2 WHERE id=1", "COMMIT",
				"DELETE FROM t WHERE id=3", "INSERT INTO t VALUES (3,3,3)"},
		},
		{
			name:    "the target has its columns in another order, and one more in front",
			create:  []string{"CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(300), w INT, x JSON)", "CREATE TABLE u LIKE t", "INSERT INTO t VALUES (1,'a',1,'{}')"},
			prepare: []string{"ALTER TABLE t MODIFY COLUMN x JSON FIRST, MODIFY COLUMN id INT AFTER v", "ALTER TABLE u ADD COLUMN more INT FIRST"},
			do:      []string{"INSERT INTO t VALUES (2,REPEAT('x',290),NULL,'[1]'),(3,NULL,3,NULL)", "UPDATE t SET w=7, v='b' WHERE id=1", "DELETE FROM t WHERE id=2", "INSERT INTO u SELECT * FROM t", "UPDATE u SET v='c'"},
		},
		{
			name:   "partial JSON",
			create: []string{"CREATE TABLE t (id INT PRIMARY KEY, j JSON, v INT)", `INSERT INTO t VALUES (1,'{"a": "some text that is long enough", "b": [1,2,3]}',1)`},
			do: []string{"SET binlog_row_value_options=PARTIAL_JSON", "UPDATE t SET j=JSON_SET(j,'$.a','other')", "UPDATE t SET j=JSON_REPLACE(j,'$.b[1]',250), v=2",
				"UPDATE t SET j=JSON_REMOVE(j,'$.b[0]')", "SET binlog_row_value_options=''"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			s.exec(tc.create...)
			s.everyWay(t, func() { s.exec(tc.do...) }, tc.prepare...)
		})
	}
}

// TestWritersOfMovingColumns: a column that the source has kept as it was does not get the target's time, with a key and without.
func TestWritersOfMovingColumns(t *testing.T) {
	s := newSite(t)
	const columns = "v INT, ts TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, dt DATETIME(3) NULL ON UPDATE CURRENT_TIMESTAMP(3)"
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, "+columns+")", "CREATE TABLE n (id INT, u INT, "+columns+")")
	for _, table := range []string{"t", "n"} {
		s.exec("INSERT INTO " + table + " VALUES (1,1,0,NULL,'2024-01-01'), (2,2,0,'2024-01-01','2024-01-01')")
	}
	all := []way{{mode: Strict, group: 1}, {sql: true, mode: Strict, group: 1}, {sql: true, mode: Strict, group: 100}, {sql: true, mode: Strict, group: 100, single: true}}
	var copies []string
	for range all {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() {
		for _, table := range []string{"t", "n"} {
			s.exec("UPDATE "+table+" SET v=1, ts=ts, dt=dt WHERE id=1", "UPDATE "+table+" SET v=2, ts=ts, dt='2024-02-02' WHERE id=2", "UPDATE "+table+" SET u=u+5, ts=ts, dt=dt")
		}
	})
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			to.equal()
		})
	}
}

// TestWritersWithoutKey: rows without a key are told apart by all of their cells.
func TestWritersWithoutKey(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE u (n INT, s VARCHAR(30), j JSON, b BLOB, g INT AS (n+1))",
		"INSERT INTO u (n,s,j,b) VALUES (1,'a','[1]',x'00'),(1,'a','[1]',x'00'),(1,'a','[1]',x'00'),(1,'b',NULL,NULL)")
	s.exec("CREATE TABLE t (a INT, s VARCHAR(30) COLLATE utf8mb4_0900_ai_ci, f FLOAT, d DOUBLE, j JSON, b VARBINARY(9), n DECIMAL(9,3), e ENUM('x','y'), bits BIT(9), at DATETIME(3), KEY (a))",
		"INSERT INTO t VALUES (1,'a',0.1,0.1,'{\"k\": 1}',x'00ff',1.5,'x',b'101','2024-01-01 00:00:00.123'),(1,'A',0.1,0.1,'{\"k\": 1}',x'00ff',1.5,'x',b'101','2024-01-01 00:00:00.123'),"+
			"(1,'á',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL),(2,'b',1e-30,-0.0,'[]','',-1,'y',0,NULL),(2,'b',1e-30,-0.0,'[]','',-1,'y',0,NULL)")
	s.exec("CREATE TABLE odd (n INT, p POINT, v VECTOR(3), st SET('a','b'), x TEXT CHARACTER SET utf16, y YEAR, ts TIMESTAMP(6) NULL, c CHAR(30), bi BINARY(4), ti TIME(2), da DATE, z INT ZEROFILL)",
		"INSERT INTO odd VALUES (1,Point(1,2),STRING_TO_VECTOR('[1,2.5,-3]'),'a,b','ü',2024,'2024-10-27 02:30:00.5','x ',x'61','-01:00:00.5','2024-02-29',7),"+
			"(1,NULL,NULL,'','',0,NULL,'','','00:00:00','0000-00-00',0),(2,Point(2,1),STRING_TO_VECTOR('[1,2.5,3]'),NULL,'U',1901,'1970-01-02 00:00:00','X',x'6100',NULL,NULL,NULL)")
	ways := []way{{mode: Strict, group: 1}, {mode: Strict, group: 100}, {mode: Strict, group: 2, single: true, foreignKeys: true},
		{sql: true, mode: Strict, group: 1}, {sql: true, mode: Strict, group: 100}, {sql: true, mode: Strict, group: 2, single: true}}
	var copies []string
	for range ways {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() {
		s.exec("UPDATE t SET a=7 WHERE BINARY s='A'", "DELETE FROM t WHERE BINARY s='a'", "UPDATE t SET s='c' WHERE a=2 LIMIT 1", "DELETE FROM t WHERE f IS NULL",
			"INSERT INTO t (a) VALUES (9),(9)", "UPDATE t SET j='[1]' WHERE a=9 LIMIT 1", "DELETE FROM t WHERE a=9 AND j IS NULL",
			"UPDATE t SET n=n+1 WHERE a=7", "UPDATE t SET n=n+1, a=8 WHERE a=7", "UPDATE t SET n=n-1, a=7 WHERE a=8",
			"UPDATE u SET n=n+1 LIMIT 3", "UPDATE u SET n=n+1 WHERE n=2 LIMIT 2", "UPDATE u SET n=n+1 LIMIT 2", "UPDATE u SET n=n+1 LIMIT 1",
			"UPDATE u SET n=n+1 LIMIT 1", "UPDATE u SET n=n+1 LIMIT 2", "UPDATE u SET n=n+1",
			"UPDATE odd SET n=n+1", "INSERT INTO odd SELECT * FROM odd WHERE n=2", "UPDATE odd SET v=STRING_TO_VECTOR('[0,0,0]'), p=Point(0,0) WHERE n=3", "DELETE FROM odd WHERE n=2 LIMIT 2", "DELETE FROM odd WHERE n=3")
		for range 12 { // what one leaves is what the next looks for
			s.exec("UPDATE u SET n=n+1 LIMIT 2", "UPDATE u SET s='c', n=n+1 WHERE s='b'", "UPDATE u SET s='b' WHERE s='c'", "UPDATE u SET j=JSON_ARRAY(n), b=n LIMIT 1")
		}
	})
	for i, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			to.equal()
		})
	}
}

// TestWritersStop: a change that does not find what it must find stops the stream, says where, and shows both versions; nothing of the transaction stays.
func TestWritersStop(t *testing.T) {
	for _, tc := range []struct{ name, diverge, do, want string }{
		{"update of a missing row", "DELETE FROM t WHERE id=3", "UPDATE t SET v='x' WHERE id=3", "update of t (id=3): the row is not on the target"},
		{"delete of a missing row", "DELETE FROM t WHERE id=3", "DELETE FROM t WHERE id=3", "delete of t (id=3): the row is not on the target"},
		{"a key that is taken", "INSERT INTO t VALUES (8,80,'theirs')", "INSERT INTO t VALUES (8,81,'ours')", "insert of t (id=8): ERROR 1062 (23000): Duplicate entry '8' for key 't.PRIMARY'; the source has (id=8, u=81, v='ours'), the target (id=8, u=80, v='theirs')"},
		{"a unique value that is taken", "INSERT INTO t VALUES (8,80,'theirs')", "UPDATE t SET u=80 WHERE id=2", "Duplicate entry '80' for key 't.u'"},
		{"a row that comes and goes", "INSERT INTO t VALUES (8,80,'theirs')", "INSERT INTO t VALUES (8,81,'ours'); DELETE FROM t WHERE id=8", "insert of t (id=8): ERROR 1062"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			s.exec("CREATE TABLE t (id INT PRIMARY KEY, u INT, v TEXT, UNIQUE (u))", "INSERT INTO t VALUES (1,1,'a'),(2,2,'b'),(3,3,'c')")
			all := []way{{mode: Strict, group: 100}, {mode: Strict, group: 100, foreignKeys: true}, {sql: true, mode: Strict, group: 100}}
			var copies []string
			for range all {
				copies = append(copies, s.copyOf())
			}
			items := s.record(func() {
				s.exec("UPDATE t SET v='first' WHERE id=1")
				s.exec(strings.Split(tc.do, "; ")...)
				s.exec("INSERT INTO t VALUES (100,100,'last')")
			})
			for i, w := range all {
				t.Run(w.String(), func(t *testing.T) {
					to := s.open(t, copies[i], w)
					to.exec("USE "+copies[i], tc.diverge, "USE "+s.db)
					before := to.cells("SELECT * FROM " + copies[i] + ".t")
					err := to.apply(items, w.group)
					require.Error(t, err)
					require.True(t, Permanent(err), err)
					require.NoError(t, to.session.Rollback(t.Context()))
					require.Equal(t, before, to.cells("SELECT * FROM "+copies[i]+".t"), "nothing stays")
					to.session.Single(true)
					err = to.apply(items, w.group)
					require.ErrorContains(t, err, tc.want)
					require.ErrorContains(t, err, "transaction ")
					require.NoError(t, to.session.Rollback(t.Context()))
					require.Equal(t, before, to.cells("SELECT * FROM "+copies[i]+".t"))
				})
			}
		})
	}
}

// TestWritersLargeTransaction: of a transaction that comes in fragments, which the caller does not keep, the row that fails is named all the same, and
// nothing stays; without it, the transaction is one of the target.
func TestWritersLargeTransaction(t *testing.T) {
	s := newSite(t)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))", "CREATE TABLE n (i INT PRIMARY KEY)", "INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)",
		"INSERT INTO t SELECT a.i+10*b.i+100*c.i+1000*d.i+10000*e.i, REPEAT('x',100) FROM n a JOIN n b JOIN n c JOIN n d JOIN n e WHERE e.i < 4", "DROP TABLE n")
	all := []way{{mode: Strict, group: 1}, {sql: true, mode: Strict, group: 1}}
	var copies []string
	for range all {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() { s.exec("UPDATE t SET v=CONCAT(id,v) WHERE id<>5 ORDER BY id", "DELETE FROM t WHERE id=5") })
	fragments := 0
	for _, item := range items {
		if tx, ok := item.(*vstream.Transaction); ok && !tx.Last {
			fragments++
		}
	}
	require.Greater(t, fragments, 3)
	for i, w := range all {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			table := copies[i] + ".t"
			to.exec("DELETE FROM " + table + " WHERE id=30005")
			before := to.cells("CHECKSUM TABLE " + table)
			err := to.apply(items, 1)
			require.ErrorIs(t, err, ErrMissing)
			require.ErrorContains(t, err, "update of t (id=30005): the row is not on the target")
			require.ErrorContains(t, err, "the source had (id=30005, v='xxx")
			require.NoError(t, to.session.Rollback(t.Context()))
			require.Equal(t, before, to.cells("CHECKSUM TABLE "+table))

			to.exec("INSERT INTO "+table+" VALUES (30005,REPEAT('x',100))", "UPDATE "+table+" SET v=CONCAT(id,v) WHERE id=20000")
			executed := to.executed()
			require.NoError(t, to.apply(items, 1), "a row that is as it should be is no divergence")
			to.equal()
			require.EqualValues(t, 2, to.executed().Subtract(executed).Count(), "transactions")
		})
	}
}
