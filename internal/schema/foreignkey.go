package schema

import (
	"context"
	"fmt"
	"strings"
)

// ForeignKey is a constraint of a child table. The parent is named, not pointed to: it may not be loaded.
type ForeignKey struct {
	Name       string   `json:"name"`
	Columns    []int    `json:"columns"` // indexes into Table.Columns
	RefDB      string   `json:"ref_db"`
	RefTable   string   `json:"ref_table"`
	RefColumns []string `json:"ref_columns"` // the parent's columns, in the order of Columns
	// OnDelete and OnUpdate are "CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT" or "NO ACTION"; empty when the account may not see them.
	OnDelete string `json:"on_delete,omitempty"`
	OnUpdate string `json:"on_update,omitempty"`
}

func (l *loader) foreignKeys(ctx context.Context) error {
	const list = "CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME"
	const order = " AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
	found := false
	err := l.query(ctx, "KEY_COLUMN_USAGE", list, order, func(t *Table, r row) error {
		found = true
		name := r.text(0)
		if n := len(t.ForeignKeys); n == 0 || t.ForeignKeys[n-1].Name != name {
			t.ForeignKeys = append(t.ForeignKeys, ForeignKey{Name: name, RefDB: r.text(2), RefTable: r.text(3)})
		}
		column := t.Column(r.text(1))
		if column < 0 {
			return fmt.Errorf("foreign key %s has the column %q, which the table lacks: it changes at this moment", name, r.text(1))
		}
		key := &t.ForeignKeys[len(t.ForeignKeys)-1]
		key.Columns = append(key.Columns, column)
		key.RefColumns = append(key.RefColumns, r.text(4))
		return nil
	})
	if err != nil || !found {
		return err
	}
	return l.referentialActions(ctx)
}

func (l *loader) referentialActions(ctx context.Context) error {
	where := strings.Replace(l.where, "TABLE_SCHEMA", "CONSTRAINT_SCHEMA", 1)
	res, err := l.conn.Query(ctx, "SELECT TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE "+where)
	if err != nil {
		return fmt.Errorf("read REFERENTIAL_CONSTRAINTS: %w", err)
	}
	for _, cells := range res.Rows {
		r := row(cells)
		t := l.byName[r.text(0)]
		if t == nil {
			continue
		}
		for i := range t.ForeignKeys {
			if key := &t.ForeignKeys[i]; key.Name == r.text(1) {
				key.OnDelete, key.OnUpdate = strings.ToUpper(r.text(2)), strings.ToUpper(r.text(3))
			}
		}
	}
	return nil
}
