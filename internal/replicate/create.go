package replicate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// definer makes what is missing on the target. Its session has the settings under which SHOW CREATE TABLE's text makes the same table.
type definer struct {
	conn *sqlconn.Conn
	log  *slog.Logger
}

func newDefiner(ctx context.Context, cfg sqlconn.Config, log *slog.Logger) (*definer, error) {
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET NAMES utf8mb4, foreign_key_checks=0"); err != nil {
		conn.Close()
		return nil, fmt.Errorf("settings of the session: %w", err)
	}
	return &definer{conn, log}, nil
}

func (d *definer) close() { d.conn.Close() }

// databases makes those that the target lacks, with the character set of the source's.
func (d *definer) databases(ctx context.Context, source *sqlconn.Conn, p *plan) error {
	done := map[string]bool{}
	for _, t := range p.tables {
		if done[t.db] {
			continue
		}
		done[t.db] = true
		res, err := source.Query(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME="+sqlconn.Quote(t.source.DB))
		if err != nil {
			return fmt.Errorf("database %s of the source: %w", t.source.DB, err)
		}
		if len(res.Rows) == 0 {
			return fmt.Errorf("database %s of the source is gone", t.source.DB)
		}
		sql := fmt.Sprintf("CREATE DATABASE IF NOT EXISTS %s CHARACTER SET %s COLLATE %s", sqlconn.QuoteIdent(t.db), res.Rows[0][0], res.Rows[0][1])
		if _, err := d.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make database %s on the target: %w", t.db, err)
		}
	}
	return nil
}

// tables makes those that the target lacks.
func (d *definer) tables(ctx context.Context, p *plan) error {
	for _, t := range p.tables {
		if t.target != nil {
			continue
		}
		if err := d.table(ctx, p, t); err != nil {
			return fmt.Errorf("make table %s.%s on the target: %w", t.db, t.name, err)
		}
		d.log.Info("table made on the target", "source", t.String(), "table", t.db+"."+t.name)
	}
	return nil
}

func (d *definer) table(ctx context.Context, p *plan, t *table) error {
	sql, err := p.createStatement(t, d.log)
	if err != nil {
		return err
	}
	if _, err := d.conn.Exec(ctx, "USE "+sqlconn.QuoteIdent(t.db)); err != nil {
		return err
	}
	// Its indexes and foreign keys come when it is copied.
	return vreplication.CreateTable(ctx, d.conn, t.db, t.name, sql, t.source.Rows)
}

// createStatement is the source's, under the target's names. A foreign key whose parent is not replicated is left out: on the target
// there is no such row.
func (p *plan) createStatement(t *table, log *slog.Logger) (string, error) {
	parents := func(db, name string) (string, string, bool) {
		for _, o := range p.tables {
			if o.source.DB == db && o.source.Name == name {
				return o.db, o.name, true
			}
		}
		log.Warn("foreign key left out: its parent is not replicated", "table", t.String(), "parent", db+"."+name)
		return "", "", false
	}
	return schema.Rename(t.source, t.db, t.name, parents)
}

// missing are the selected names without wildcards that the source does not have.
func (s *Selection) missing(p *plan, databases []string) []string {
	var lack []string
	for _, text := range s.Databases {
		if part, _, err := parsePart(text); err == nil && !part.wild && !slices.Contains(databases, part.text) {
			lack = append(lack, "database "+part.text)
		}
	}
	for _, text := range s.Tables {
		n, _, err := parseName(text)
		if err != nil || n.wild() {
			continue
		}
		if !slices.ContainsFunc(p.tables, func(t *table) bool { return t.source.DB == n.db.text && t.source.Name == n.table.text }) {
			lack = append(lack, "table "+strings.TrimPrefix(n.String(), "/"))
		}
	}
	return lack
}
