package storm

import (
	"context"
	"fmt"
	"strings"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// Contents reads a table as a multiset of canonical rows, in the encoding of rowimage.AppendRow. The session must have the settings of sqlconn.
func Contents(ctx context.Context, conn *sqlconn.Conn, def *schema.Table) (map[string]int, error) {
	list := make([]string, len(def.Columns))
	for i, c := range def.Columns {
		list[i] = rowimage.SelectExpr(c)
	}
	rows := map[string]int{}
	err := conn.QueryStream(ctx, "SELECT "+strings.Join(list, ", ")+" FROM "+Name{DB: def.DB, Table: def.Name}.String(), func(cells [][]byte) error {
		row := make(rowimage.Row, len(cells))
		for i, cell := range cells {
			row[i] = rowimage.Canonical(def.Columns[i], cell)
		}
		rows[string(rowimage.AppendRow(nil, row))]++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s.%s: %w", def.DB, def.Name, err)
	}
	return rows, nil
}

// most bounds what is said of one table.
const most = 4

// Differences lists rows of which the two have different numbers: first those that only want has.
func Differences(def *schema.Table, want, have map[string]int) []string {
	var out []string
	total := 0
	say := func(row string, a, b int) {
		if total++; total > most {
			return
		}
		cells, _, err := rowimage.DecodeRow([]byte(row), len(def.Columns))
		if err != nil {
			out = append(out, fmt.Sprintf("%s.%s: %v", def.DB, def.Name, err))
			return
		}
		parts := make([]string, len(cells))
		for i, cell := range cells {
			parts[i] = def.Columns[i].Name + "=NULL"
			if cell != nil {
				parts[i] = fmt.Sprintf("%s=%.120q", def.Columns[i].Name, cell)
			}
		}
		out = append(out, fmt.Sprintf("%s.%s: %d times on the source, %d here: %s", def.DB, def.Name, a, b, strings.Join(parts, " ")))
	}
	for row, n := range want {
		if have[row] != n {
			say(row, n, have[row])
		}
	}
	for row, n := range have {
		if want[row] == 0 {
			say(row, 0, n)
		}
	}
	if total > most {
		out = append(out, fmt.Sprintf("%s.%s: %d more rows differ", def.DB, def.Name, total-most))
	}
	return out
}
