package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// server is a mysqld of a test, with a session.
type server struct {
	*mysqld.Server
	t    *testing.T
	conn *sqlconn.Conn
}

func newServer(t *testing.T, options ...string) *server {
	srv := mysqldtest.New(t, mysqldtest.Options{Options: options})
	s := &server{srv, t, mysqldtest.Dial(t, srv.Root())}
	s.exec("SET NAMES utf8mb4")
	return s
}

func (s *server) exec(statements ...string) {
	s.t.Helper()
	for _, sql := range statements {
		_, err := s.conn.Exec(s.t.Context(), sql)
		require.NoError(s.t, err, sql)
	}
}

func (s *server) position() *gtid.Set {
	set, _, err := binlog.Executed(s.t.Context(), s.conn)
	require.NoError(s.t, err)
	return &set
}

// file closes the current log file and returns its path.
func (s *server) file() string {
	end, err := binlog.End(s.t.Context(), s.conn)
	require.NoError(s.t, err)
	s.exec("FLUSH BINARY LOGS")
	return filepath.Join(s.Dir(), "data", end.File)
}

func (s *server) live() *Source { return &Source{DB: s.Repl()} }

// tail returns the JSON lines of a span.
func tail(t *testing.T, src *Source, span Span, patterns ...string) (lines []map[string]any, sum Summary) {
	t.Helper()
	filter, err := ParsePatterns(patterns)
	require.NoError(t, err)
	var out bytes.Buffer
	sum, err = src.Scan(t.Context(), span, filter.Match, NewTail(&out, true, filter))
	require.NoError(t, err)
	for line := range strings.Lines(out.String()) {
		var doc map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &doc), line)
		lines = append(lines, doc)
	}
	return lines, sum
}

const everyType = `CREATE TABLE d.types (id BIGINT UNSIGNED PRIMARY KEY, t TINYINT UNSIGNED, s SMALLINT, m MEDIUMINT, i INT UNSIGNED ZEROFILL,
 f FLOAT, d DOUBLE, n DECIMAL(20,5), y YEAR, b BIT(10), dt DATE, ti TIME(3), da DATETIME(6), ts TIMESTAMP(2) NULL,
 c CHAR(200) CHARACTER SET utf8mb4, vc VARCHAR(300), l VARCHAR(10) CHARACTER SET latin1, bi BINARY(4), vb VARBINARY(300),
 tb TINYBLOB, mb MEDIUMBLOB, tt TINYTEXT, lt LONGTEXT, e ENUM('x','y'), st SET('a','b','c'), j JSON, g POINT, v VECTOR(2), nothing INT)`

const everyValue = `INSERT INTO d.types VALUES (18446744073709551615, 255, -5, -8388608, 42, 1.5, -2.25, -123.45, 2026, b'1000000001', '2026-01-31',
 '-01:02:03.5', '2026-01-31 10:00:00.123456', '2026-01-31 10:00:00.12', 'ünï', 'text', 'é', x'4100', x'00ff', x'01', x'0203', 'tiny', 'long', 'y', 'a,c',
 '{"a": [1, null]}', ST_GeomFromText('POINT(1 2)'), TO_VECTOR('[1,2]'), NULL)`

// TestDefinitions: rows read from a file with what the log says of the table are those that are read with the server's definition.
func TestDefinitions(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", everyType)
	from := s.position()
	s.exec("FLUSH BINARY LOGS", everyValue, "UPDATE d.types SET vc = NULL", "DELETE FROM d.types")
	live, sum := tail(t, s.live(), Span{From: from})
	require.Len(t, live, 3)
	require.Empty(t, sum.Notes)
	require.EqualValues(t, 3, sum.Rows)
	files, _ := tail(t, &Source{Files: []string{s.file()}}, Span{})
	require.Equal(t, live, files)

	row := live[0]["rows"].([]any)[0].(map[string]any)["after"].(map[string]any)
	for column, want := range map[string]any{
		"id": "18446744073709551615", "i": "42", "n": "-123.45000", "ti": "-01:02:03.500", "da": "2026-01-31 10:00:00.123456", "c": "ünï", "l": "0xe9",
		"bi": "0x41000000", "vb": "0x00ff", "e": "2", "st": "5", "j": `{"a": [1, null]}`, "b": "513", "v": "0x0000803f00000040", "nothing": nil,
	} {
		require.Equal(t, want, row[column], column)
	}
	update := live[1]["rows"].([]any)[0].(map[string]any)
	require.Equal(t, "text", update["before"].(map[string]any)["vc"])
	require.Nil(t, update["after"].(map[string]any)["vc"])

	from = s.position()
	s.exec("SET GLOBAL binlog_row_metadata='MINIMAL'", everyValue)
	_, sum = tail(t, s.live(), Span{From: from})
	require.Equal(t, []string{unnamedNote}, sum.Notes, "the names are those of the table as it is now")
	files, _ = tail(t, &Source{Files: []string{s.file()}}, Span{})
	after := files[len(files)-1]["rows"].([]any)[0].(map[string]any)["after"].(map[string]any)
	require.Equal(t, "18446744073709551615", after["@1"])
	require.Equal(t, row["g"], after["@27"])
	require.Len(t, after, len(row))
}

// TestOtherStatements: what changes neither rows nor tables is shown with its text, as long as no tables are asked for.
func TestOtherStatements(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
	from := s.position()
	s.exec("CREATE USER reader IDENTIFIED BY 'secret'", "GRANT SELECT ON d.* TO reader", "INSERT INTO d.t VALUES (1)", "CREATE VIEW d.v AS SELECT 1 AS one")
	var out bytes.Buffer
	_, err := s.live().Scan(t.Context(), Span{From: from}, nil, NewTail(&out, false, nil))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^  other CREATE USER 'reader'@'%' IDENTIFIED`, out.String())
	require.NotContains(t, out.String(), "secret")
	require.Contains(t, out.String(), "  other GRANT SELECT ON `d`.* TO 'reader'@'%'\n")
	require.Regexp(t, `(?m)^  other CREATE .*VIEW `, out.String())
	lines, _ := tail(t, s.live(), Span{From: from})
	require.Contains(t, lines[1]["other"], "GRANT SELECT")
	require.NotContains(t, lines[2], "other")
	lines, _ = tail(t, s.live(), Span{From: from}, "d.t")
	require.Len(t, lines, 1)
}

// TestSpans choose the same transactions of a server and of its files.
func TestSpans(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
	begin := s.position()
	s.exec("FLUSH BINARY LOGS")
	var at []*gtid.Set
	for id := range 6 {
		s.exec(fmt.Sprintf("INSERT INTO d.t VALUES (%d)", id))
		at = append(at, s.position())
	}
	live, files := s.live(), &Source{Files: []string{s.file()}}
	all, _ := tail(t, live, Span{From: begin})
	require.Len(t, all, 6)
	third, err := time.Parse(time.RFC3339, all[2]["at"].(string))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		span  Span
		first string
		n     int
	}{
		"from":           {Span{From: at[1]}, "2", 4},
		"to":             {Span{From: begin, To: at[3]}, "0", 4},
		"from and to":    {Span{From: at[0], To: at[3]}, "1", 3},
		"nothing":        {Span{From: at[3], To: at[3]}, "", 0},
		"limit":          {Span{From: begin, Limit: 2}, "0", 2},
		"since":          {Span{From: begin, Since: third}, "2", 4},
		"until":          {Span{From: begin, Until: third}, "0", 2},
		"since, limited": {Span{Since: third, Limit: 1}, "2", 1},
		"before the log": {Span{Until: time.Unix(1e9, 0)}, "", 0},
		"after its end":  {Span{Since: time.Now().Add(time.Hour)}, "", 0},
	} {
		for _, src := range []*Source{live, files} {
			lines, sum := tail(t, src, c.span, "d.t")
			require.Len(t, lines, c.n, name)
			require.EqualValues(t, c.n, sum.Rows, name)
			if c.n > 0 {
				row := lines[0]["rows"].([]any)[0].(map[string]any)
				require.Equal(t, c.first, row["after"].(map[string]any)["id"], name)
			}
		}
	}
	lines, sum := tail(t, live, Span{Now: true})
	require.Empty(t, lines, "the server's log has ended")
	require.Zero(t, sum.Transactions)
}

// TestFilter: what is not asked for is not written, and costs no definition.
func TestFilter(t *testing.T) {
	s := newServer(t)
	from := s.position()
	s.exec("CREATE DATABASE d", "CREATE DATABASE other", "CREATE TABLE d.t (id INT PRIMARY KEY)", "CREATE TABLE other.t (id INT PRIMARY KEY)",
		"CREATE TABLE d.copied AS SELECT 1 AS one", "BEGIN", "INSERT INTO d.t VALUES (1)", "INSERT INTO other.t VALUES (1)", "COMMIT",
		"INSERT INTO other.t VALUES (2)", "DROP DATABASE d")
	lines, _ := tail(t, s.live(), Span{From: from}, "d.*")
	var got []string
	for _, l := range lines {
		ddl, _ := l["ddl"].(string)
		got = append(got, fmt.Sprintf("%.12s %d", ddl, len(l["rows"].([]any))))
	}
	require.Equal(t, []string{"CREATE DATAB 0", "CREATE TABLE 0", "CREATE TABLE 1", " 1", "DROP DATABAS 0"}, got)
}

// TestUnreadable: what a stream would refuse is counted, and noted.
func TestUnreadable(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v INT, w INT)")
	from := s.position()
	s.exec("SET binlog_row_image=MINIMAL", "INSERT INTO d.t VALUES (1, 1, 1), (2, 2, 2)", "UPDATE d.t SET v = 3", "SET binlog_format=STATEMENT",
		"DELETE FROM d.t WHERE id = 1")
	lines, sum := tail(t, s.live(), Span{From: from})
	require.Len(t, lines, 3)
	require.Len(t, sum.Notes, 2)
	require.Contains(t, sum.Notes[0], "binlog_row_image=FULL")
	require.Contains(t, sum.Notes[1], "logged as statements")
	require.Equal(t, []any{"DELETE FROM d.t WHERE id = 1"}, lines[2]["statements"])
	p := NewParallelism()
	_, err := s.live().Scan(t.Context(), Span{From: from}, nil, p)
	require.NoError(t, err)
	for _, m := range p.Report() {
		require.Equal(t, 3, m.Waves, "%s: nothing is known to be independent", m.Mode)
	}
}

// TestTopComparesSpans: a batch that was not there before, on a row that everybody changes.
func TestTopComparesSpans(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE d", "CREATE TABLE d.orders (id INT PRIMARY KEY, v VARCHAR(200))", "CREATE TABLE d.counter (id INT PRIMARY KEY, n INT)",
		"CREATE TABLE d.keyless (v INT)", "INSERT INTO d.counter VALUES (1, 0)", "INSERT INTO d.keyless VALUES (1)")
	quiet := s.position()
	s.exec("INSERT INTO d.orders VALUES (1, 'x')", "UPDATE d.counter SET n = n + 1")
	busy := s.position()
	for range 20 {
		s.exec("UPDATE d.counter SET n = n + 1")
	}
	s.exec("INSERT INTO d.orders WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i, REPEAT('y', 100) FROM n",
		"DELETE FROM d.keyless", "ALTER TABLE d.keyless ADD w INT")

	scan := func(span Span) (*Top, Summary) {
		top := NewTop()
		sum, err := s.live().Scan(t.Context(), span, nil, top)
		require.NoError(t, err)
		return top, sum
	}
	before, beforeSum := scan(Span{From: quiet, To: busy})
	top, sum := scan(Span{From: busy})
	r := top.Report(sum, before, &beforeSum, 3)
	require.Equal(t, "d.orders", r.Tables[0].Table)
	require.EqualValues(t, 499, r.Tables[0].Inserts)
	require.InDelta(t, 499, r.Tables[0].RowsFactor, 0)
	require.Equal(t, "d.counter", r.Tables[1].Table)
	require.InDelta(t, 20, r.Tables[1].RowsFactor, 0)
	require.True(t, r.Tables[2].New)
	require.True(t, r.Tables[2].NoPrimaryKey)
	require.Equal(t, "d.counter", r.HotRows[0].Table)
	require.Equal(t, "id=1", Cells(r.HotRows[0].Key))
	require.EqualValues(t, 20, r.HotRows[0].Changes)
	require.Len(t, r.HotRows, 1, "rows that changed once are not hot")
	require.EqualValues(t, 499, r.Biggest[0].Rows)
	var trx int64
	for _, size := range r.Sizes {
		trx += size.Transactions
	}
	require.EqualValues(t, sum.Transactions, trx)
	findings := strings.Join(r.Findings, "\n")
	for _, want := range []string{
		"times the span before", "d.orders made", r.Biggest[0].GTID + " alone", "row id=1 of d.counter was changed by 87 %", "d.keyless has no primary key",
		"d.keyless was changed by DDL",
	} {
		require.Contains(t, findings, want)
	}
	empty := NewTop().Report(Summary{}, nil, nil, 3)
	require.Equal(t, []string{"nothing was written in the span"}, empty.Findings)
}

// TestParallelism: two databases, and rows that collide.
func TestParallelism(t *testing.T) {
	s := newServer(t)
	s.exec("CREATE DATABASE a", "CREATE DATABASE b", "CREATE TABLE a.t (id INT PRIMARY KEY, n INT)", "CREATE TABLE b.t (id INT PRIMARY KEY, n INT)")
	from := s.position()
	for id := range 8 {
		s.exec(fmt.Sprintf("INSERT INTO a.t VALUES (%d, 0)", id), fmt.Sprintf("INSERT INTO b.t VALUES (%d, 0)", id))
	}
	s.exec("UPDATE a.t SET n = 1 WHERE id = 0")
	p := NewParallelism()
	sum, err := s.live().Scan(t.Context(), Span{From: from}, nil, p)
	require.NoError(t, err)
	require.EqualValues(t, 17, sum.Transactions)
	require.Empty(t, p.Coarse())
	for _, m := range p.Report() {
		waves := map[string]int{"database": 9, "writeset": 2}[m.Mode.String()]
		if waves > 0 {
			require.Equal(t, waves, m.Waves, m.Mode)
		}
		require.InDelta(t, 1, m.Replay[0].SpeedUp, 0.001)
		require.Greater(t, m.Replay[len(m.Replay)-1].SpeedUp, 1.5)
	}
	p = NewParallelism()
	_, err = (&Source{Files: []string{s.file()}}).Scan(t.Context(), Span{From: from}, nil, p)
	require.NoError(t, err)
	require.Len(t, p.Coarse(), 2, "a file does not tell all keys, and that is said")
}
