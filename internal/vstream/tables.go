package vstream

import (
	"context"
	"fmt"
	"slices"

	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// Tables are the names, as the rules have them, of the tables that a stream with these rules would follow now.
func (l *Local) Tables(ctx context.Context, rules filter.Rules) ([]string, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	catalog := newCatalog(l.cfg.DBName, rules, l)
	res, err := conn.Query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE='BASE TABLE' ORDER BY 1, 2")
	if err != nil {
		return nil, fmt.Errorf("tables of the source: %w", err)
	}
	var names []string
	for _, row := range res.Rows {
		if db, table := string(row[0]), string(row[1]); catalog.rule(db, table) != nil {
			names = append(names, rules.Name(db, table))
		}
	}
	return names, nil
}

// Keyless are those of the tables whose rows have no identity, once the GTIDs are executed. One that is gone is left out: the DDL that took
// it away is still to come on the stream.
func (l *Local) Keyless(ctx context.Context, rules filter.Rules, tables []string, after gtid.Set) ([]string, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := waitExecuted(ctx, conn, after); err != nil {
		return nil, err
	}
	catalog := newCatalog(l.cfg.DBName, rules, l)
	wanted, databases := map[string]bool{}, []string(nil)
	for _, name := range tables {
		wanted[name] = true
		if db, _ := catalog.split(name); !slices.Contains(databases, db) {
			databases = append(databases, db)
		}
	}
	var names []string
	for _, db := range databases {
		defs, err := schema.Load(ctx, conn, db, nil)
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			if name := rules.Name(db, def.Name); wanted[name] && len(def.KeyColumns()) == 0 {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
