package vstream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/filter"
	"braid/internal/gtid"
	"braid/internal/schema"
)

// Tables are the names, as the rules have them, of the tables that a stream with these rules would follow now.
func (l *Local) Tables(ctx context.Context, rules filter.Rules) ([]string, error) {
	conn, err := l.dial(ctx, gtid.Set{})
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

// checkNamed refuses rules that name a table which is not there. A copy would wait for it for ever; patterns are for tables that are still to come.
func (l *Local) checkNamed(ctx context.Context, rules filter.Rules) error {
	names, err := l.Tables(ctx, rules)
	if err != nil {
		return err
	}
	for i := range rules.Rules {
		r := &rules.Rules[i]
		if r.Ignore || strings.HasPrefix(r.Table, "/") || strings.HasPrefix(r.DB, "/") {
			continue
		}
		db := r.DB
		if db == "" {
			db = l.cfg.DBName
		}
		if !slices.Contains(names, rules.Name(db, r.Table)) {
			return errs.New(errs.TableUnknown, nil, "the rules name table %s.%s, and the source has no base table of that name (or the account may not see it)", db, r.Table).
				With("Correct the name, or create the table first. A pattern also selects tables that are created later.")
		}
	}
	return nil
}

// Keyless are those of the tables whose rows have no identity, once the GTIDs are executed. One that is gone is left out: the DDL that took
// it away is still to come on the stream.
func (l *Local) Keyless(ctx context.Context, rules filter.Rules, tables []string, after gtid.Set) ([]string, error) {
	conn, err := l.dial(ctx, after)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
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
