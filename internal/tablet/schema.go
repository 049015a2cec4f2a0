package tablet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// applySchema creates the tables that are missing and checks those that exist: a table with other columns is an error,
// never changed. Statements run afterwards, as they are.
func applySchema(ctx context.Context, conn *sqlconn.Conn, r *tabletpb.ApplySchemaRequest) (created []string, err error) {
	// Definitions are text: read as binary, names of ENUM members and JSON paths of indexes would be stored as other ones.
	if _, err := conn.Exec(ctx, "SET NAMES utf8mb4"); err != nil {
		return nil, fmt.Errorf("apply schema: %w", err)
	}
	defer func() {
		if _, back := conn.Exec(ctx, "SET NAMES binary"); back != nil {
			conn.Close() // the next user must not get it like this
			err = errors.Join(err, back)
		}
	}()
	if _, err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+sqlconn.QuoteIdent(r.DbName)); err != nil {
		return nil, fmt.Errorf("create database %s: %w", r.DbName, err)
	}
	if _, err := conn.Exec(ctx, "USE "+sqlconn.QuoteIdent(r.DbName)); err != nil {
		return nil, fmt.Errorf("use %s: %w", r.DbName, err)
	}
	for _, table := range r.Tables {
		made, err := applyTable(ctx, conn, r.DbName, table)
		if err != nil {
			return created, err
		}
		if made {
			created = append(created, table.Name)
		}
	}
	for _, sql := range r.Statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return created, fmt.Errorf("%s: %w", sql, err)
		}
	}
	return created, nil
}

func applyTable(ctx context.Context, conn *sqlconn.Conn, db string, table *tabletpb.TableSchema) (bool, error) {
	present, err := schema.Exists(ctx, conn, db, table.Name)
	if err != nil {
		return false, err
	}
	want := new(schema.Table)
	if len(table.Definition) > 0 {
		if err := json.Unmarshal(table.Definition, want); err != nil {
			return false, fmt.Errorf("definition of %s: %w", table.Name, err)
		}
	}
	if !present { // bare: the stream that fills it adds the rest
		return true, vreplication.CreateTable(ctx, conn, db, table.Name, table.CreateStatement, want.Rows)
	}
	if len(table.Definition) == 0 {
		return false, nil
	}
	have, err := schema.Load(ctx, conn, db, []string{table.Name})
	if err != nil {
		return false, err
	}
	if diffs := schema.Compare(want, have[0]); len(diffs) > 0 {
		return false, tableDiffers(db, table.Name, diffs)
	}
	return false, nil
}

// tableDiffers names what is different, in the words of the target.
func tableDiffers(db, table string, diffs []schema.Difference) error {
	lines := make([]string, len(diffs))
	for i, d := range diffs {
		lines[i] = d.String()
	}
	return errs.New(errs.TableDiffers, nil, "%s.%s: %s", db, table, strings.Join(lines, "; "))
}

// dropTables drops tables that may refer to each other: one by one, a cycle of foreign keys could not be dropped at all.
func dropTables(ctx context.Context, conn *sqlconn.Conn, db string, tables []string) (err error) {
	if _, err := conn.Exec(ctx, "SET SESSION foreign_key_checks=0"); err != nil {
		return fmt.Errorf("drop tables: %w", err)
	}
	defer func() {
		if _, back := conn.Exec(ctx, "SET SESSION foreign_key_checks=1"); back != nil {
			conn.Close() // the next user must not get it like this
			err = errors.Join(err, back)
		}
	}()
	for _, table := range tables {
		if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+sqlconn.QuoteIdent(db)+"."+sqlconn.QuoteIdent(table)); err != nil {
			return fmt.Errorf("drop %s.%s: %w", db, table, err)
		}
	}
	return vreplication.ForgetDeferred(ctx, conn, db, tables)
}

// countAtLeast mends the server's estimate of a table's rows where it matters: whether there are any. The estimate may be a
// day old.
func countAtLeast(ctx context.Context, conn *sqlconn.Conn, t *schema.Table) error {
	res, err := conn.Query(ctx, "SELECT 1 FROM "+sqlconn.QuoteIdent(t.DB)+"."+sqlconn.QuoteIdent(t.Name)+" LIMIT 1")
	if err != nil {
		return fmt.Errorf("look into %s.%s: %w", t.DB, t.Name, err)
	}
	if len(res.Rows) == 0 {
		t.Rows = 0
	} else {
		t.Rows = max(t.Rows, 1)
	}
	return nil
}
