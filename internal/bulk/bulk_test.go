package bulk_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/bulk"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/rowimage/rowimagetest"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// bed is a database with a writer of one method.
type bed struct {
	t    testing.TB
	db   string
	text *sqlconn.Conn // NAMES utf8mb4, for definitions and values
	conn *sqlconn.Conn // what a stream writes with
	w    *bulk.Writer
}

// both runs a test with each method; the server of the second has local_infile=OFF.
func both(t *testing.T, test func(t *testing.T, b *bed)) {
	for _, method := range []bulk.Method{bulk.Load, bulk.Replace} {
		t.Run(method.String(), func(t *testing.T) {
			server, db := mysqldtest.Shared(t)
			if method == bulk.Replace {
				mysqldtest.Exec(t, server, "SET GLOBAL local_infile=OFF")
				defer mysqldtest.Exec(t, server, "SET GLOBAL local_infile=ON")
			}
			test(t, newBed(t, server.Admin().WithDB(db), server.Root().WithDB(db), method))
		})
	}
}

func newBed(t testing.TB, cfg, root sqlconn.Config, method bulk.Method) *bed {
	b := &bed{t: t, db: cfg.DB, text: mysqldtest.Dial(t, root), conn: mysqldtest.Dial(t, cfg)}
	b.exec("SET NAMES utf8mb4")
	var err error
	b.w, err = bulk.NewWriter(t.Context(), b.conn)
	require.NoError(t, err)
	have, reason := b.w.Method()
	require.Equal(t, method, have)
	require.Equal(t, method == bulk.Replace, reason != "")
	return b
}

func (b *bed) exec(statements ...string) {
	b.t.Helper()
	for _, sql := range statements {
		if _, err := b.text.Exec(b.t.Context(), sql); err != nil {
			b.t.Fatalf("%.300s: %v", sql, err)
		}
	}
}

func (b *bed) load(name string) *schema.Table {
	b.t.Helper()
	tables, err := schema.Load(b.t.Context(), b.conn, b.db, []string{name})
	require.NoError(b.t, err)
	return tables[0]
}

func (b *bed) bind(source, target string) *bulk.Table {
	b.t.Helper()
	table, err := bulk.NewTable(b.load(source), b.load(target))
	require.NoError(b.t, err)
	return table
}

// rows reads a table as a chunk is read, by its first column.
func (b *bed) rows(name string) []rowimage.Row {
	b.t.Helper()
	def := b.load(name)
	exprs := make([]string, len(def.Columns))
	for i, c := range def.Columns {
		exprs[i] = rowimage.SelectExpr(c)
	}
	res, err := b.conn.Query(b.t.Context(), "SELECT "+strings.Join(exprs, ", ")+" FROM "+sqlconn.QuoteIdent(name)+" ORDER BY 1")
	require.NoError(b.t, err)
	out := make([]rowimage.Row, len(res.Rows))
	for i, cells := range res.Rows {
		for j, c := range def.Columns {
			cells[j] = rowimage.Canonical(c, cells[j])
		}
		out[i] = cells
	}
	return out
}

// write is one transaction.
func (b *bed) write(t *bulk.Table, rows []rowimage.Row) error {
	b.t.Helper()
	_, err := b.conn.Exec(b.t.Context(), "BEGIN")
	require.NoError(b.t, err)
	end := "COMMIT"
	written := b.w.Write(b.t.Context(), b.conn, t, rows)
	if written != nil {
		end = "ROLLBACK"
	}
	_, err = b.conn.Exec(b.t.Context(), end)
	require.NoError(b.t, err)
	return written
}

func (b *bed) same(what, source, target string) {
	b.t.Helper()
	want, have := b.rows(source), b.rows(target)
	require.Len(b.t, have, len(want), what)
	for i := range want {
		require.True(b.t, want[i].Equal(have[i]), "%s: wrote %.300q, read %.300q", what, want[i], have[i])
	}
}

// Every type: what is read from one table and written to another reads the same there; written again it does not change.
func TestEveryType(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	both(t, func(t *testing.T, b *bed) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var wide []rowimagetest.Case
		for i, c := range rowimagetest.Cases {
			if c.NoWriteBack {
				continue
			}
			if !c.NotWide {
				wide = append(wide, c)
			}
			name := fmt.Sprintf("c%d", i)
			b.fill(c, rng, name)
			b.exec("CREATE TABLE " + name + "_copy LIKE " + name)
			table, rows := b.bind(name, name+"_copy"), b.rows(name)
			for range 2 {
				require.NoError(t, b.write(table, rows), c.Type)
				b.same(c.Type, name, name+"_copy")
			}
			require.Zero(t, b.w.Again(), "%s: LOAD DATA has warnings", c.Type)
			b.exec("DROP TABLE " + name + ", " + name + "_copy")
		}
		b.fillWide(wide, rng)
		b.exec("CREATE TABLE wide_copy LIKE wide")
		require.NoError(t, b.write(b.bind("wide", "wide_copy"), b.rows("wide")))
		b.same("all types", "wide", "wide_copy")
	})
}

func (b *bed) fill(c rowimagetest.Case, rng *rand.Rand, table string) {
	b.exec(fmt.Sprintf("CREATE TABLE %s (id INT AUTO_INCREMENT PRIMARY KEY, n INT DEFAULT 7, c %s)", table, c.Type))
	values, into := append([]string{}, c.Values...), "c"
	if strings.Contains(c.Type, "GENERATED") {
		into = "n"
	}
	if !strings.Contains(c.Type, "NOT NULL") {
		values = append(values, "NULL")
	}
	for i := 0; i < 20 && c.Random != nil; i++ {
		values = append(values, c.Random(rng))
	}
	b.exec("BEGIN")
	defer b.exec("COMMIT")
	for _, v := range values {
		b.exec(fmt.Sprintf("INSERT IGNORE INTO %s (%s) VALUES (%s)", table, into, v))
	}
}

func (b *bed) fillWide(cases []rowimagetest.Case, rng *rand.Rand) {
	var columns, names []string
	for i, c := range cases {
		columns, names = append(columns, fmt.Sprintf("w%d %s", i, c.Type)), append(names, fmt.Sprintf("w%d", i))
	}
	b.exec("CREATE TABLE wide (id INT AUTO_INCREMENT PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	for range 40 {
		values := make([]string, len(cases))
		for i, c := range cases {
			values[i] = c.Values[rng.IntN(len(c.Values))]
			if rng.IntN(4) == 0 && !strings.Contains(c.Type, "NOT NULL") {
				values[i] = "NULL"
			}
		}
		b.exec("INSERT IGNORE INTO wide (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")")
	}
}

// Rows that are there give way, by whatever key they are in the way.
func TestReplaces(t *testing.T) {
	both(t, func(t *testing.T, b *bed) {
		const columns = " (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(10))"
		b.exec("CREATE TABLE s"+columns, "CREATE TABLE d"+columns, "INSERT INTO s VALUES (1,1,'a'),(2,2,'b'),(3,3,NULL)", "INSERT INTO d VALUES (1,1,'a'),(2,9,'old'),(8,3,'stray')")
		require.NoError(t, b.write(b.bind("s", "d"), b.rows("s")))
		b.same("", "s", "d")
	})
}

// Names may hold anything, and a target may have columns of its own and another order.
func TestOddNamesAndColumns(t *testing.T) {
	both(t, func(t *testing.T, b *bed) {
		b.exec("CREATE TABLE `it's a ``table`` \"x\"` (`id` INT PRIMARY KEY, `a b` INT, `it's` VARCHAR(9), `q``q\\` JSON, `ключ☃` ENUM('a','2','ü'), `select` BIT(9), gen INT AS (`a b`+1))",
			"INSERT INTO `it's a ``table`` \"x\"` (`id`,`a b`,`it's`,`q``q\\`,`ключ☃`,`select`) VALUES (1,2,'x','{\"a\": 1}','2',b'100001001'), (2,NULL,NULL,NULL,'ü',NULL)",
			"CREATE TABLE d (extra INT NOT NULL DEFAULT 7, gen INT AS (`a b`+1) STORED, `select` BIT(9), `id` INT PRIMARY KEY, `a b` INT, `it's` VARCHAR(9), `q``q\\` JSON, `ключ☃` ENUM('a','2','ü'))")
		require.NoError(t, b.write(b.bind("it's a `table` \"x\"", "d"), b.rows("it's a `table` \"x\"")))
		res, err := b.conn.Query(t.Context(), "SELECT extra, id, `a b`, `it's`, `q``q\\`, `ключ☃`+0, `select`+0, gen FROM d ORDER BY id")
		require.NoError(t, err)
		require.Equal(t, `[["7" "1" "2" "x" "{\"a\": 1}" "2" "265" "3"] ["7" "2" "" "" "" "3" "" ""]]`, fmt.Sprintf("%q", res.Rows))
	})
}

// What does not fit is an error and leaves nothing.
func TestWhatDoesNotFit(t *testing.T) {
	both(t, func(t *testing.T, b *bed) {
		b.exec("CREATE TABLE s (id INT PRIMARY KEY, c VARCHAR(20))", "CREATE TABLE d (id INT PRIMARY KEY, c VARCHAR(3), CHECK (id < 100))", "INSERT INTO s VALUES (1,'abc'),(2,'abcd')")
		err := b.write(b.bind("s", "d"), b.rows("s"))
		require.EqualValues(t, 1265, sqlconn.ErrCode(err), "%v", err)
		require.ErrorContains(t, err, b.db+".d")
		b.exec("DELETE FROM s", "INSERT INTO s VALUES (1,'x'),(100,'y')")
		require.EqualValues(t, 3819, sqlconn.ErrCode(b.write(b.bind("s", "d"), b.rows("s"))))
		require.Empty(t, b.rows("d"))
		b.exec("DELETE FROM s WHERE id=100")
		require.NoError(t, b.write(b.bind("s", "d"), b.rows("s")))
		b.same("after an error the session goes on", "s", "d")
	})
}

// Cells that are larger than any buffer, and more rows than a statement holds.
func TestLargeAndMany(t *testing.T) {
	both(t, func(t *testing.T, b *bed) {
		b.exec("CREATE TABLE s (id INT PRIMARY KEY, c LONGBLOB)", "CREATE TABLE d LIKE s", "SET SESSION cte_max_recursion_depth=100000",
			"INSERT INTO s VALUES (0, REPEAT(x'5c090a005c', 4000000))",
			"INSERT INTO s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<30000) SELECT i, REPEAT(CHAR(i), i%97) FROM n")
		require.NoError(t, b.write(b.bind("s", "d"), b.rows("s")))
		b.same("", "s", "d")
	})
}

// A server may be told to refuse LOAD DATA while rows are copied.
func TestSwitchedOff(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	b := newBed(t, server.Admin().WithDB(db), server.Root().WithDB(db), bulk.Load)
	b.exec("CREATE TABLE s (id INT PRIMARY KEY)", "CREATE TABLE d LIKE s", "INSERT INTO s VALUES (1),(2)", "SET GLOBAL local_infile=OFF")
	defer b.exec("SET GLOBAL local_infile=ON")
	require.NoError(t, b.write(b.bind("s", "d"), b.rows("s")))
	b.same("", "s", "d")
	method, reason := b.w.Method()
	require.Equal(t, bulk.Replace, method)
	require.Contains(t, reason, "local_infile")
}
