package robustness

import (
	"context"
	"fmt"

	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/test/storm"
)

// differences compares all tables of the databases, row by row; nothing differs if there are none.
func differences(ctx context.Context, source, target *sqlconn.Conn, databases []string) (out []string, rows int, err error) {
	for _, db := range databases {
		here, err := schema.Load(ctx, source, db, nil)
		if err != nil {
			return nil, 0, err
		}
		there, err := schema.Load(ctx, target, db, nil)
		if err != nil {
			return nil, 0, err
		}
		byName := map[string]*schema.Table{}
		for _, t := range there {
			byName[t.Name] = t
		}
		for _, def := range here {
			other := byName[def.Name]
			delete(byName, def.Name)
			if other == nil {
				out = append(out, fmt.Sprintf("%s.%s is not on the target", db, def.Name))
				continue
			}
			some, n, err := tableDifferences(ctx, source, target, def, other)
			if err != nil {
				return nil, 0, err
			}
			out, rows = append(out, some...), rows+n
		}
		for name := range byName {
			out = append(out, fmt.Sprintf("%s.%s is on the target only", db, name))
		}
	}
	return out, rows, nil
}

func tableDifferences(ctx context.Context, source, target *sqlconn.Conn, def, other *schema.Table) (out []string, rows int, err error) {
	if def.CreateStatement != other.CreateStatement && bare(def) != bare(other) {
		return []string{fmt.Sprintf("%s.%s differs:\n  %s\n  %s", def.DB, def.Name, bare(def), bare(other))}, 0, nil
	}
	want, err := storm.Contents(ctx, source, def)
	if err != nil {
		return nil, 0, err
	}
	have, err := storm.Contents(ctx, target, other)
	if err != nil {
		return nil, 0, err
	}
	for _, n := range want {
		rows += n
	}
	return storm.Differences(def, want, have), rows, nil
}

// bare is what must be the same of two definitions: columns with their types, and keys. The next AUTO_INCREMENT value need not.
func bare(t *schema.Table) string {
	s := ""
	for _, c := range t.Columns {
		s += fmt.Sprintf("%s %s nullable=%v collation=%s generated=%q invisible=%v; ", c.Name, c.ColumnType, c.Nullable, c.Collation, c.Expression, c.Invisible)
	}
	for _, i := range t.Indexes {
		s += fmt.Sprintf("%s unique=%v %v; ", i.Name, i.Unique, i.Parts)
	}
	for _, k := range t.ForeignKeys {
		s += fmt.Sprintf("%+v; ", k)
	}
	return s
}
