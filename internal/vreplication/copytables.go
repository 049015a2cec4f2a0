package vreplication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// tables are those to copy.
func (r *run) tables(ctx context.Context) ([]string, error) {
	if r.c.e.deps.Begins != nil {
		return r.listed, nil
	}
	return sourceTables(ctx, r.conn, r.row)
}

// sourceTables are the tables that a stream's rules follow. What a pattern means is looked up on the target, which has the
// same tables.
func sourceTables(ctx context.Context, conn *sqlconn.Conn, r *row) ([]string, error) {
	if r.Source.Rules.Qualified() { // those that were found when the copy began
		_, copies, err := loadCopies(ctx, conn, r.ID)
		names := make([]string, len(copies))
		for i, c := range copies {
			names[i] = c.name
		}
		return names, err
	}
	var names, present []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range r.Source.Rules.Rules {
		rule := &r.Source.Rules.Rules[i]
		if !strings.HasPrefix(rule.Table, "/") {
			add(rule.Table)
			continue
		}
		if present == nil {
			res, err := conn.Query(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE='BASE TABLE' AND TABLE_SCHEMA="+sqlconn.Quote(r.DBName)+" ORDER BY 1")
			if err != nil {
				return nil, fmt.Errorf("tables of %s: %w", r.DBName, err)
			}
			for _, c := range res.Rows {
				present = append(present, string(c[0]))
			}
		}
		for _, name := range present {
			if r.Source.Rules.Match("", name) == rule {
				add(name)
			}
		}
	}
	return names, nil
}
