package vdiff

import (
	"context"
	"fmt"
	"strings"

	"braid/internal/rowimage"
	"braid/internal/sqlconn"
)

// Snapshot opens a read view of what is committed now. It lasts until Release, for one chunk.
func Snapshot(ctx context.Context, conn *sqlconn.Conn) error {
	err := conn.ExecMulti(ctx, []byte("SET SESSION transaction_isolation='REPEATABLE-READ'; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"))
	if err != nil {
		return fmt.Errorf("snapshot of the target: %w", err)
	}
	return nil
}

// Release ends the read view.
func Release(ctx context.Context, conn *sqlconn.Conn) error {
	_, err := conn.Exec(ctx, "COMMIT")
	return err
}

// Range reads the target's rows with after < key <= last; nil bounds are open.
func (t *Table) Range(ctx context.Context, conn *sqlconn.Conn, after, last rowimage.Row) ([]rowimage.Row, error) {
	where := []string{"1=1"}
	if after != nil {
		where = append(where, t.bound(after, ">", ">"))
	}
	if last != nil {
		where = append(where, t.bound(last, "<", "<="))
	}
	return t.read(ctx, conn, t.selectSQL(strings.Join(where, " AND ")))
}

// Keys reads the target's rows with these keys.
func (t *Table) Keys(ctx context.Context, conn *sqlconn.Conn, keys []rowimage.Row) ([]rowimage.Row, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	return t.read(ctx, conn, t.KeysSQL(keys))
}

// KeysSQL is the statement of Keys; Rows makes rows of its result.
func (t *Table) KeysSQL(keys []rowimage.Row) string {
	sql := []byte("(" + t.keyNames() + ") IN (")
	for i, key := range keys {
		if i > 0 {
			sql = append(sql, ',')
		}
		sql = append(sql, '(')
		for j, c := range t.key {
			if j > 0 {
				sql = append(sql, ',')
			}
			sql = rowimage.AppendLiteralTo(sql, &t.Source.Columns[c], key[j])
		}
		sql = append(sql, ')')
	}
	return t.selectSQL(string(append(sql, ')')))
}

// bound writes a comparison of keys so that the index is used: (a >= x AND (a > x OR (b > y))). A comparison of row
// constructors means the same, but reads the whole table.
func (t *Table) bound(key rowimage.Row, strict, final string) string {
	var sql string
	for i := len(t.key) - 1; i >= 0; i-- {
		col := &t.Source.Columns[t.key[i]]
		name, value := sqlconn.QuoteIdent(col.Name), string(rowimage.AppendLiteralTo(nil, col, key[i]))
		if sql == "" {
			sql = name + " " + final + " " + value
			continue
		}
		sql = name + " " + strict + "= " + value + " AND (" + name + " " + strict + " " + value + " OR (" + sql + "))"
	}
	return "(" + sql + ")"
}

func (t *Table) keyNames() string {
	names := make([]string, len(t.key))
	for i, c := range t.key {
		names[i] = sqlconn.QuoteIdent(t.Source.Columns[c].Name)
	}
	return strings.Join(names, ",")
}

// selectSQL selects all columns of the source's definition, in its order: one that the target lacks reads as NULL.
func (t *Table) selectSQL(where string) string {
	exprs := make([]string, len(t.Source.Columns))
	for i := range t.Source.Columns {
		exprs[i] = "NULL"
	}
	for _, c := range t.shared {
		exprs[c] = rowimage.SelectExpr(t.Source.Columns[c])
	}
	return "SELECT " + strings.Join(exprs, ",") + " FROM " + t.Name() + " WHERE " + where + " ORDER BY " + t.keyNames()
}

func (t *Table) read(ctx context.Context, conn *sqlconn.Conn, sql string) ([]rowimage.Row, error) {
	res, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", t.Name(), err)
	}
	return t.Rows(res), nil
}

// Rows makes canonical rows of a result; it takes over its memory.
func (t *Table) Rows(res *sqlconn.Result) []rowimage.Row {
	rows := make([]rowimage.Row, len(res.Rows))
	for i, cells := range res.Rows {
		for c := range cells {
			cells[c] = rowimage.Canonical(t.Source.Columns[c], cells[c])
		}
		rows[i] = cells
	}
	return rows
}
