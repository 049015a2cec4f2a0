package vstream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
)

// splitKinds are keys of many types, with gaps and clusters. Each expression makes a value of a number from 1 to 20,000.
var splitKinds = []struct{ name, columns, key, values string }{
	{"sequence", "a BIGINT", "a", "i"},
	{"gaps", "a BIGINT", "a", "IF(i < 10000, i, i * 1000000000000)"},
	{"negative", "a INT", "a", "(i - 10000) * 3"},
	{"unsigned", "a BIGINT UNSIGNED", "a", "18446744073709551615 - i * 7"},
	{"descending", "a INT", "a DESC", "i * i"},
	{"decimal", "a DECIMAL(20,6)", "a", "(i - 5000) / 7"},
	{"double", "a DOUBLE", "a", "EXP(i / 100)"},
	{"float", "a FLOAT, b INT", "a, b", "i * 1.5, i"},
	{"dates", "a DATE, b INT", "a, b", "DATE_ADD('1999-12-31', INTERVAL i DAY), i"},
	{"stamps", "a TIMESTAMP(3), b INT", "a, b", "DATE_ADD('2024-01-01', INTERVAL i * i SECOND), i"},
	{"times", "a TIME, b INT", "a, b", "SEC_TO_TIME((i - 10000) * 60), i"},
	{"hashes", "a BINARY(16)", "a", "UNHEX(LEFT(SHA2(i, 256), 32))"},
	{"hex", "a CHAR(32) COLLATE utf8mb4_0900_ai_ci", "a", "LEFT(SHA2(i, 256), 32)"},
	{"uuid", "a CHAR(36) COLLATE ascii_bin", "a", "INSERT(INSERT(INSERT(INSERT(LEFT(SHA2(i, 256), 32), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"},
	{"names", "a VARCHAR(60) COLLATE utf8mb4_general_ci", "a", "CONCAT('User-', LPAD(i, 8, '0'), '@example.com')"},
	{"wide", "a VARCHAR(40) CHARACTER SET utf16", "a", "CONCAT(_utf8mb4'k', CONVERT(LEFT(SHA2(i, 256), 32) USING utf8mb4))"},
	{"tenants", "a INT, b VARCHAR(32), c INT", "a, b, c", "IF(i < 15000, 7, i), LEFT(SHA2(i DIV 10, 256), 32), i"},
	{"tenants back", "a INT, b INT", "a, b DESC", "i MOD 3, i"},
	{"flags", "a ENUM('x','y'), b BIT(20), c INT", "a, b, c", "1 + i MOD 2, i, i"},
}

// TestSplit: the keys ascend as the server compares, and the ranges are about even, whatever the key.
func TestSplit(t *testing.T) {
	s := sharedServer(t)
	s.exec("SET cte_max_recursion_depth=100000")
	s.exec("CREATE TABLE n (i INT PRIMARY KEY)")
	s.exec("INSERT INTO n WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n")
	for _, kind := range splitKinds {
		t.Run(kind.name, func(t *testing.T) {
			s := &server{Server: s.Server, t: t, db: s.db, conn: s.conn}
			s.exec(fmt.Sprintf("CREATE TABLE `the %s` (%s, v VARCHAR(100), PRIMARY KEY (%s))", kind.name, kind.columns, kind.key))
			s.exec(fmt.Sprintf("INSERT INTO `the %s` SELECT %s, REPEAT('v', 100) FROM n", kind.name, kind.values))
			s.exec(fmt.Sprintf("ANALYZE TABLE `the %s`", kind.name))
			l, err := s.local().load(t.Context(), s.executed(), s.db, "the "+kind.name)
			require.NoError(t, err)
			def := l.def
			tab := &table{name: def.Name, def: def, key: def.KeyColumns()}
			_, size, err := tableSize(t.Context(), s.conn, def)
			require.NoError(t, err)
			r := &chunkReader{db: s.Repl(), sizes: newChunkSizes()}
			defer r.close()
			began := time.Now()
			split, err := r.split(t.Context(), tab, &SplitRequest{Table: def.Name, Bytes: size/8 - 1, Most: 8})
			require.NoError(t, err)
			took := time.Since(began)
			bounds := append([]rowimage.Row{nil}, split.Keys...)
			bounds = append(bounds, nil)
			var counts []int
			total := 0
			x := indexOf(def, tab.key)
			for i := range bounds[1:] {
				sql := x.appendRange(x.appendFrom([]byte("SELECT COUNT(*)"), def), def, bounds[i], bounds[i+1])
				res, err := s.conn.Query(t.Context(), string(sql))
				require.NoError(t, err)
				n, err := strconv.Atoi(string(res.Rows[0][0]))
				require.NoError(t, err)
				counts, total = append(counts, n), total+n
			}
			t.Logf("%v in %v", counts, took)
			if len(bounds) > 4 {
				s.usesIndex(chunkSQL(def, tab.key, &WindowRequest{After: bounds[2], Until: bounds[3]}, 100))
				s.usesIndex(chunkSQL(def, tab.key, &WindowRequest{Until: bounds[1]}, 100))
				s.usesIndex(chunkSQL(def, tab.key, &WindowRequest{After: bounds[len(bounds)-2]}, 100))
			}
			require.Equal(t, 20_000, total, "ranges overlap, or have a gap between them")
			require.GreaterOrEqual(t, len(counts), 6)
			for _, n := range counts {
				require.Less(t, n, 6000)
			}
		})
	}
}

// usesIndex checks that a SELECT reads a range of the index, in its order, and no more than its rows.
func (s *server) usesIndex(sql string) {
	s.t.Helper()
	explain, err := s.conn.Query(s.t.Context(), "EXPLAIN FORMAT=TRADITIONAL "+sql)
	require.NoError(s.t, err)
	require.Equal(s.t, "range", string(explain.Rows[0][slices.Index(explain.Columns, "type")]), sql)
	require.NotContains(s.t, strings.ToLower(string(explain.Rows[0][slices.Index(explain.Columns, "Extra")])), "filesort", sql)
	s.exec("FLUSH STATUS")
	res, err := s.conn.Query(s.t.Context(), sql)
	require.NoError(s.t, err)
	status, err := s.conn.Query(s.t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
	require.NoError(s.t, err)
	total := 0
	for _, row := range status.Rows {
		n, err := strconv.Atoi(string(row[1]))
		require.NoError(s.t, err)
		total += n
	}
	require.LessOrEqual(s.t, total, 2*len(res.Rows)+20, "%s reads %d rows for %d", sql, total, len(res.Rows))
}
