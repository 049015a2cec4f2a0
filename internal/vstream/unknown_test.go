package vstream

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/schema"
)

// fakeSource has the definitions that it is given.
type fakeSource map[string]*schema.Table

func (f fakeSource) load(_ context.Context, _ gtid.Set, db, table string) (loaded, error) {
	if t := f[db+"."+table]; t != nil {
		return loaded{def: t}, nil
	}
	return loaded{}, fmt.Errorf("no %s.%s", db, table)
}

func (f fakeSource) loadFrom(context.Context, gtid.Set, string, string, func(string) bool) ([]loaded, error) {
	return nil, nil
}

func (f fakeSource) changes(_ context.Context, after gtid.Set, _ binlog.Coordinates) ([]*binlog.DDL, gtid.Set, error) {
	return nil, after, nil
}

func (f fakeSource) loadCollations(context.Context) (map[uint64]collation, error) { return nil, nil }

// mapBody is the body of a TABLE_MAP event of d.name with a BIGINT and a column of a type.
func mapBody(id byte, name string, typ byte) []byte {
	body := []byte{id, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, byte(len(name))}
	body = append(append(body, name...), 0, 2, 8, typ, 1, 4)
	return append(body, 0)
}

// TestUnknownColumnType: rows of a type that nobody knows end the stream, and the error names the transaction, the table, the column and the type.
// Nothing of the row is guessed. Of a table that nobody follows it does not matter.
func TestUnknownColumnType(t *testing.T) {
	source := fakeSource{"d.t": {DB: "d", Name: "t", Columns: []schema.Column{{Name: "id", DataType: "bigint"}, {Name: "x", DataType: "quantum"}}, PrimaryKey: []int{0}}}
	c := newCatalog("d", allTables(), source)
	c.received = func() gtid.Set { return gtid.Set{} }
	s := &stream{ctx: t.Context(), catalog: c, transform: transform{catalog: c, windows: new(windows)}}
	s.transform.emit = s.emit
	err := s.transaction(&binlog.Transaction{GTID: "01010101-0101-0101-0101-010101010101:7", First: true, Last: true, Rows: []binlog.Rows{
		{Table: &binlog.TableMap{ID: 1, DB: "d", Table: "t", Body: mapBody(1, "t", 200)}, Kind: binlog.Insert, Body: make([]byte, 30)}}})
	require.ErrorContains(t, err, "transaction 01010101-0101-0101-0101-010101010101:7")
	require.ErrorContains(t, err, "d.t")
	require.ErrorContains(t, err, "column 2: type 200 cannot be read")
	require.Empty(t, s.out)
}

// TestManyTables: a stream of many tables of a server, each with a row in one transaction and another of its own. BRAID_TABLES=10000 is the full size;
// a server takes minutes to make them.
func TestManyTables(t *testing.T) {
	tables := 300
	if n := os.Getenv("BRAID_TABLES"); n != "" {
		var err error
		tables, err = strconv.Atoi(n)
		require.NoError(t, err)
	}
	srv := sharedServer(t)
	if tables > 1000 { // to drop so many takes longer than to end a server
		own := mysqldtest.New(t, mysqldtest.Options{})
		mysqldtest.Exec(t, own, "CREATE DATABASE d")
		srv = connect(t, own, "d")
	}
	from := srv.executed()
	began := time.Now()
	for at := 0; at < tables; at += 100 {
		var sql bytes.Buffer
		for i := range 100 {
			fmt.Fprintf(&sql, "CREATE TABLE t%05d (id INT PRIMARY KEY, v VARCHAR(20));", at+i)
		}
		require.NoError(t, srv.conn.ExecMulti(t.Context(), bytes.TrimSuffix(sql.Bytes(), []byte{';'})))
	}
	t.Logf("made in %v", time.Since(began))
	rows := func(from, to, id int) {
		var sql strings.Builder
		sql.WriteString("BEGIN")
		for i := from; i < to; i++ {
			fmt.Fprintf(&sql, ";INSERT INTO t%05d VALUES (%d, 'row %d')", i, id, i)
		}
		sql.WriteString(";COMMIT")
		require.NoError(t, srv.conn.ExecMulti(t.Context(), []byte(sql.String())))
	}
	rows(0, tables, 1) // all table maps in one transaction
	for i := range tables {
		if i%20 == 0 {
			rows(i, i+20, 2)
		}
	}
	until := srv.executed()

	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	began = time.Now()
	before := heap()
	st, err := srv.local().Open(t.Context(), Start{Position: from.String(), Rules: filter.Rules{Rules: []filter.Rule{{Table: "/.*"}}}})
	require.NoError(t, err)
	defer st.Close()
	opened := time.Since(began)
	seen, names := map[uint32]int{}, map[string]bool{}
	for position := from; !position.Contains(until); {
		items, err := st.Recv()
		require.NoError(t, err)
		for _, item := range items {
			switch item := item.(type) {
			case *Table:
				names[item.Target] = true
			case *DDL:
				require.NoError(t, position.Add(item.GTID))
			case *Transaction:
				for _, c := range item.Changes {
					seen[c.TableID]++
				}
				if item.Last {
					require.NoError(t, item.Reach(&position))
				}
			case *Heartbeat:
				set, err := gtid.Parse(item.Position)
				require.NoError(t, err)
				position = position.Union(set)
			}
		}
	}
	took := time.Since(began)
	perTable := (heap() - before) / tables
	t.Logf("%d tables: opened in %v, read in %v, %d bytes a table", tables, opened, took, perTable)
	require.Less(t, perTable, 64<<10)
	require.Len(t, seen, tables)
	require.Len(t, names, tables)
	for id, n := range seen {
		require.Equal(t, 2, n, "table %d", id)
	}
	require.Less(t, took, time.Minute)

	// A DDL of one table does not have the others' definitions read again.
	catalog := st.(*stream).catalog
	source := &counted{definitions: catalog.definitions}
	catalog.definitions = source
	began = time.Now()
	srv.exec("ALTER TABLE t00007 ADD COLUMN w INT DEFAULT 3 FIRST")
	for at := 0; at < tables; at += 100 {
		var sql strings.Builder
		sql.WriteString("BEGIN")
		for i := range 100 {
			fmt.Fprintf(&sql, ";UPDATE t%05d SET v = 'other' WHERE id = 1", at+i)
		}
		sql.WriteString(";COMMIT")
		require.NoError(t, srv.conn.ExecMulti(t.Context(), []byte(sql.String())))
	}
	changed := time.Since(began)
	began = time.Now()
	clear(seen)
	described := 0
	for len(seen) < tables {
		items, err := st.Recv()
		require.NoError(t, err)
		for _, item := range items {
			switch item := item.(type) {
			case *Table:
				described++
				require.Equal(t, "t00007", item.Target)
			case *Transaction:
				for _, c := range item.Changes {
					seen[c.TableID]++
				}
			}
		}
	}
	t.Logf("a change of each behind a DDL of one: made in %v, read in %v more", changed, time.Since(began))
	require.Equal(t, 1, described)
	require.Equal(t, 1, source.loads+source.together)
	require.Less(t, time.Since(began), 30*time.Second)
}

// TestTenThousandTables: what is remembered of table maps is bounded in number, and of 10,000 tables in bytes; rows of all of them, in turns, are read
// in time, although what was compiled of a map is forgotten before it comes again.
func TestTenThousandTables(t *testing.T) {
	const tables, rounds = 10_000, 5
	source := fakeSource{}
	c := newCatalog("d", allTables(), source)
	c.received = func() gtid.Set { return gtid.Set{} }
	s := &stream{ctx: t.Context(), catalog: c, transform: transform{catalog: c, windows: new(windows)}}
	s.transform.emit = s.emit
	maps := make([]*binlog.TableMap, tables)
	for i := range maps {
		name := fmt.Sprintf("t%05d", i)
		source["d."+name] = &schema.Table{DB: "d", Name: name, PrimaryKey: []int{0},
			Columns: []schema.Column{{Name: "id", DataType: "bigint"}, {Name: "x", DataType: "bigint", Nullable: true}}}
		body := mapBody(byte(i), name, 8) // ids do not matter here: maps are known by their pointers
		body[len(body)-3] = 0             // no metadata
		maps[i] = &binlog.TableMap{ID: uint64(i), DB: "d", Table: name, Body: append(body[:len(body)-2], 2)}
	}
	row := append([]byte{1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 0xff, 0}, make([]byte, 16)...)
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before, began := heap(), time.Now()
	for round := range rounds {
		for i, m := range maps {
			tx := &binlog.Transaction{GTID: fmt.Sprintf("01010101-0101-0101-0101-010101010101:%d", round*tables+i+1), First: true, Last: true,
				Rows: []binlog.Rows{{Table: m, Kind: binlog.Insert, Body: row}}}
			require.NoError(t, s.transaction(tx))
			require.LessOrEqual(t, len(c.maps), maxMaps)
		}
		s.out = nil // as if received
	}
	took, perTable := time.Since(began), (heap()-before)/tables
	t.Logf("%d tables, %d rows each: %v, %d bytes a table", tables, rounds, took, perTable)
	require.Less(t, perTable, 4<<10)
	require.Less(t, took, 20*time.Second)
	require.Len(t, c.tables, tables)
}
