package vreplication

import (
	"context"
	"slices"

	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// TargetTable is a table of the target.
type TargetTable struct{ DB, Table string }

// Writers are the workflows whose streams write to each table, as far as their copies have found tables. Streams of all databases are read;
// without a sidecar database there are none.
func Writers(ctx context.Context, conn *sqlconn.Conn) (map[TargetTable][]string, error) {
	writers := map[TargetTable][]string{}
	if found, err := schema.Exists(ctx, conn, Sidecar, "vreplication"); err != nil || !found {
		return writers, err
	}
	rows, err := loadRows(ctx, conn, "TRUE")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		_, copies, err := loadCopies(ctx, conn, r.ID)
		if err != nil {
			return nil, err
		}
		for _, c := range copies {
			db, table := r.Source.Rules.Split(c.name)
			rule := r.Source.Rules.Match(db, table)
			if rule == nil {
				continue
			}
			at := TargetTable{targetDB(rule, db, r.DBName), target(rule, table)}
			if !slices.Contains(writers[at], r.Workflow) {
				writers[at] = append(writers[at], r.Workflow)
			}
		}
	}
	return writers, nil
}
