package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Cascade says that foreign keys with actions (CASCADE, SET NULL, SET DEFAULT) lead from a table to another one, over others perhaps.
type Cascade struct {
	DB       string   `json:"db"`
	Table    string   `json:"table"`
	Columns  []string `json:"columns"`             // of the table where it begins, to which the first of these keys refers
	OnDelete bool     `json:"on_delete,omitempty"` // what a delete does, or
	OnUpdate bool     `json:"on_update,omitempty"` // an update of these columns
}

const actions = "(r.DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR r.UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))"

func (l *loader) cascades(ctx context.Context) error {
	mine := strings.Replace(strings.Replace(l.where, "TABLE_SCHEMA", "r.UNIQUE_CONSTRAINT_SCHEMA", 1), " AND TABLE_NAME IN", " AND r.REFERENCED_TABLE_NAME IN", 1)
	res, err := l.conn.Query(ctx, "SELECT 1 FROM information_schema.REFERENTIAL_CONSTRAINTS r WHERE "+mine+" AND "+actions+" LIMIT 1")
	if err == nil && len(res.Rows) > 0 {
		res, err = l.conn.Query(ctx, "SELECT r.UNIQUE_CONSTRAINT_SCHEMA, r.REFERENCED_TABLE_NAME, r.CONSTRAINT_SCHEMA, r.TABLE_NAME, r.CONSTRAINT_NAME, r.DELETE_RULE, r.UPDATE_RULE, k.REFERENCED_COLUMN_NAME "+
			"FROM information_schema.REFERENTIAL_CONSTRAINTS r JOIN information_schema.KEY_COLUMN_USAGE k "+
			"ON k.CONSTRAINT_SCHEMA=r.CONSTRAINT_SCHEMA AND k.TABLE_NAME=r.TABLE_NAME AND k.CONSTRAINT_NAME=r.CONSTRAINT_NAME WHERE "+actions+" ORDER BY 1, 2, 3, 4, 5, k.ORDINAL_POSITION")
	}
	if err != nil {
		return fmt.Errorf("read REFERENTIAL_CONSTRAINTS: %w", err)
	}
	type place struct{ db, table string }
	first := map[place][]Cascade{}
	last := ""
	for _, cells := range res.Rows {
		if len(cells) == 1 { // there are none
			break
		}
		r := row(cells)
		from, name := place{r.text(0), r.text(1)}, r.text(2)+"\x00"+r.text(3)+"\x00"+r.text(4)
		if name != last {
			first[from] = append(first[from], Cascade{DB: r.text(2), Table: r.text(3), OnDelete: acts(r.text(5)), OnUpdate: acts(r.text(6))})
		}
		last = name
		c := &first[from][len(first[from])-1]
		c.Columns = append(c.Columns, r.text(7))
	}
	for _, t := range l.byName {
		for _, c := range first[place{t.DB, t.Name}] {
			reached := []place{{c.DB, c.Table}}
			for i := 0; i < len(reached); i++ {
				at := reached[i]
				t.Cascades = append(t.Cascades, Cascade{at.db, at.table, c.Columns, c.OnDelete, c.OnUpdate})
				for _, next := range first[at] {
					if to := (place{next.DB, next.Table}); !slices.Contains(reached, to) {
						reached = append(reached, to)
					}
				}
			}
		}
	}
	return nil
}

// acts says that a rule of a foreign key changes rows.
func acts(rule string) bool { return rule != "RESTRICT" && rule != "NO ACTION" }

// Acts says that the foreign key changes rows of its table when rows of the parent change, or go.
func (k *ForeignKey) Acts() bool {
	return k.OnDelete != "" && acts(k.OnDelete) || k.OnUpdate != "" && acts(k.OnUpdate)
}
