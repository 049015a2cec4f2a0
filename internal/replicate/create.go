package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// definer makes what is missing on the target. Its session has the settings under which SHOW CREATE TABLE's text makes the same table.
type definer struct {
	conn *sqlconn.Conn
	log  *slog.Logger
}

// definerPatience is how long a statement may wait for tables that others use before that is said.
const definerPatience = 5 * time.Second

func newDefiner(ctx context.Context, cfg sqlconn.Config, log *slog.Logger) (*definer, error) {
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET NAMES utf8mb4, foreign_key_checks=0, lock_wait_timeout=%d", int(definerPatience.Seconds()))); err != nil {
		conn.Close()
		return nil, fmt.Errorf("settings of the session: %w", err)
	}
	return &definer{conn, log}, nil
}

func (d *definer) close() { d.conn.Close() }

// databases makes those that the target lacks, with the character set of the source's. Those that are there are not asked for: even CREATE DATABASE IF
// NOT EXISTS waits for whoever has written to one and not committed.
func (d *definer) databases(ctx context.Context, source *sqlconn.Conn, p *plan) error {
	res, err := d.conn.Query(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
	if err != nil {
		return fmt.Errorf("databases of the target: %w", err)
	}
	done := map[string]bool{}
	for _, row := range res.Rows {
		done[string(row[0])] = true
	}
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
			return refused(err, "make database %s on the target", t.db)
		}
	}
	return nil
}

// refused is an error of the target's own: of its version, its settings, its privileges.
func refused(err error, format string, args ...any) error {
	if sqlconn.ErrCode(err) == 0 {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	return errs.New(errs.StreamFailed, err, format, args...).With(
		"do what the target's message asks for, or make it there by hand, with the source's columns and keys; then run the same command again")
}

// definerSessions make tables at the same time: each waits for the target's disk, and they wait together.
const definerSessions = 8

// makeTables makes those that the target lacks.
func (r *replication) makeTables(ctx context.Context, p *plan) error {
	var todo []*table
	for _, t := range p.tables {
		if t.target == nil {
			todo = append(todo, t)
		}
	}
	work := make(chan *table, len(todo))
	for _, t := range todo {
		work <- t
	}
	close(work)
	group, ctx := errgroup.WithContext(ctx)
	for range min(definerSessions, len(todo)) {
		group.Go(func() error {
			d, err := newDefiner(ctx, r.cfg.Target, r.log)
			if err != nil {
				return err
			}
			defer d.close()
			for t := range work {
				if err := d.make(ctx, p, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// make makes a table. If nobody knows whether that was done, it counts as made: it was not there when the plan was read.
func (d *definer) make(ctx context.Context, p *plan, t *table) error {
	err := d.table(ctx, p, t)
	t.made = err == nil || errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil
	if err != nil {
		return refused(err, "make table %s.%s on the target", t.db, t.name)
	}
	d.log.Info("table made on the target", "source", t.String(), "table", t.db+"."+t.name)
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

// drop takes back a table that was made, and has no rows yet.
func (d *definer) drop(ctx context.Context, t *table) error {
	if _, err := d.conn.Exec(ctx, "DROP TABLE IF EXISTS "+t.quoted()); err != nil {
		return fmt.Errorf("drop table %s.%s on the target, which the source has changed: %w", t.db, t.name, err)
	}
	d.log.Info("table dropped on the target: the source has changed it before the copy began", "source", t.String(), "table", t.db+"."+t.name)
	return vreplication.ForgetDeferred(ctx, d.conn, t.db, []string{t.name})
}

// inherit says what was made of the tables of a plan that are defined alike in another, and drops what was made of the others.
func (d *definer) inherit(ctx context.Context, before, now *plan) error {
	for _, t := range before.tables {
		same := now.find(t)
		switch {
		case same != nil:
			same.made = t.made
		case t.made:
			if err := d.drop(ctx, t); err != nil {
				return err
			}
			t.made = false // should the rest fail, and all of it be repeated
		}
	}
	return nil
}

// settleAttempts is how often definitions are read until nothing has changed from one time to the next.
const settleAttempts = 1000

// settle says where the stream begins, and which tables the source had there. DDL that the source runs between the reading of its definitions and
// that place would not be in the stream. So they are read again when the place is known: if they are what the target's tables were made by, they
// are those of the place. Else another place is found, and the target's tables are brought in line.
func (r *replication) settle(ctx context.Context) (at gtid.Set, tables []string, err error) {
	source, err := sqlconn.Dial(ctx, r.cfg.Source)
	if err != nil {
		return at, nil, err
	}
	defer source.Close()
	now, at, err := r.place(ctx, source)
	if err != nil {
		return at, nil, err
	}
	if !now.same(r.plan) {
		if err := r.remake(ctx, source, now); err != nil {
			return at, nil, err
		}
		r.plan = now
	}
	for _, t := range now.tables {
		tables = append(tables, r.rules.Name(t.source.DB, t.source.Name))
	}
	return at, tables, nil
}

// place finds a position, and what the tables were there.
func (r *replication) place(ctx context.Context, source *sqlconn.Conn) (now *plan, at gtid.Set, err error) {
	before := r.plan
	for range settleAttempts {
		if at, err = binlog.Begin(ctx, source); err != nil {
			return nil, at, err
		}
		if now, err = newPlan(ctx, source, r.local, r.rules); err != nil {
			return nil, at, err
		}
		if now.same(before) {
			return now, at, nil
		}
		before = now
	}
	return nil, at, errors.New("the source's tables are changed by DDL all the time; the copy can begin when they are not for a moment")
}

// remake drops what this process has made and is otherwise now, and makes what is missing.
func (r *replication) remake(ctx context.Context, source *sqlconn.Conn, now *plan) error {
	if err := now.checkSource(r.cfg.WithoutKey != vreplication.RefuseKeyless); err != nil {
		return err
	}
	d, err := newDefiner(ctx, r.cfg.Target, r.log)
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.inherit(ctx, r.plan, now); err != nil {
		return err
	}
	if err := now.compare(ctx, d.conn); err != nil {
		return err
	}
	if err := r.checkRows(ctx, d.conn, now); err != nil {
		return err
	}
	if err := d.databases(ctx, source, now); err != nil {
		return err
	}
	return r.makeTables(ctx, now)
}

// createStatement is the source's, under the target's names. A foreign key whose parent is not replicated is left out: on the target
// there is no such row.
func (p *plan) createStatement(t *table, log *slog.Logger) (string, error) {
	parents := func(db, parent string) (string, string, bool) {
		if o := p.named[tableName{db, parent}]; o != nil {
			return o.db, o.name, true
		}
		log.Warn("foreign key left out: its parent is not replicated", "table", t.String(), "parent", db+"."+parent)
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
		if p.named[tableName{n.db.text, n.table.text}] == nil {
			lack = append(lack, "table "+strings.TrimPrefix(n.String(), "/"))
		}
	}
	return lack
}
