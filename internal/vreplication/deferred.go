package vreplication

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
	"braid/internal/binlog"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// deferRows is the size from which a table is made without its indexes. Below it an ALTER costs more than it saves.
const deferRows = 10_000

// CreateTable makes a table that a stream is to fill, bare: without its foreign keys and, if it is large, without the indexes that are not unique; these stay
// where there is no key, since changes look rows up by them then. What is left
// out is written down first, in the sidecar of the same server, and added by the stream that has copied the table, or by its
// next run: a crash in between loses nothing. create is as SHOW CREATE TABLE prints it; its table need not be qualified. rows is the
// source's estimate. conn has NAMES utf8mb4, foreign_key_checks=0, and the database selected.
func CreateTable(ctx context.Context, conn *sqlconn.Conn, db, name, create string, rows int64) error {
	bare, d, err := schema.Defer(create)
	if err != nil {
		return fmt.Errorf("create %s.%s: %w", db, name, err)
	}
	keyed, err := schema.HasKey(create)
	if err != nil {
		return fmt.Errorf("create %s.%s: %w", db, name, err)
	}
	if (rows < deferRows || !keyed) && len(d.Indexes) > 0 {
		if bare, err = schema.WithoutForeignKeys(create); err != nil {
			return fmt.Errorf("create %s.%s: %w", db, name, err)
		}
		d.Indexes = nil
	}
	if !d.Empty() {
		text, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("create %s.%s: %w", db, name, err)
		}
		_, err = conn.Exec(ctx, fmt.Sprintf("REPLACE INTO _braid.deferred (db_name, table_name, definitions, created_at) VALUES (%s, %s, %s, %d)",
			sqlconn.Quote(db), sqlconn.Quote(name), sqlconn.Quote(string(text)), nowUS()))
		if err != nil {
			return fmt.Errorf("create %s.%s: write down what is added later: %w", db, name, err)
		}
	}
	if err := keysAsWritten(ctx, conn); err != nil {
		return fmt.Errorf("create %s.%s: %w", db, name, err)
	}
	if _, err := conn.Exec(ctx, bare); err != nil {
		return fmt.Errorf("create %s.%s: %w", db, name, err)
	}
	return nil
}

// keysAsWritten keeps the server from giving a table a key that its statement does not have. Only where it would: that needs a privilege.
func keysAsWritten(ctx context.Context, conn *sqlconn.Conn) error {
	off := binlog.Setting{Name: "sql_generate_invisible_primary_key", Value: "0"}
	same, known, err := has(ctx, conn, off)
	if err != nil || same || !known {
		return err
	}
	if _, err := conn.Exec(ctx, "SET SESSION "+off.Name+"=0"); err != nil {
		return fmt.Errorf("the server adds a primary key to tables without one, which differ from the source's then; GRANT SESSION_VARIABLES_ADMIN ON *.* to the account, or set %s=OFF there: %w", off.Name, err)
	}
	return nil
}

// ForgetDeferred drops what is written down for tables that are dropped.
func ForgetDeferred(ctx context.Context, conn *sqlconn.Conn, db string, tables []string) error {
	if len(tables) == 0 {
		return nil
	}
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = sqlconn.Quote(t)
	}
	_, err := conn.Exec(ctx, "DELETE FROM _braid.deferred WHERE db_name="+sqlconn.Quote(db)+" AND table_name IN ("+strings.Join(names, ",")+")")
	if err != nil {
		return fmt.Errorf("forget what tables of %s lack: %w", db, err)
	}
	return nil
}

// unfinished is a target table that lacks something.
type unfinished struct {
	at     TargetTable
	d      schema.Deferred
	source *schema.Table // its definition, if the stream has told it
	turn   chan struct{} // full while somebody works at the table
	gone   bool          // it is finished already, and may have another definition since; read and written in turn
	wait   time.Duration // how long its next ALTER waits for those who use the table; likewise
}

func (u *unfinished) among(objects []binlog.Object) bool {
	return within(binlog.Object{DB: u.at.DB, Table: u.at.Table}, objects)
}

// within says that a table is one of the objects, or lies in one.
func within(table binlog.Object, objects []binlog.Object) bool {
	return slices.ContainsFunc(objects, func(o binlog.Object) bool { return o.DB == table.DB && (o.Table == table.Table || o.Table == "") })
}

// parents are the tables to which its missing foreign keys refer.
func (u *unfinished) parents() (parents []binlog.Object) {
	for _, key := range u.d.ForeignKeys {
		for _, n := range binlog.DDLNames("ALTER TABLE "+sqlconn.QuoteIdent(u.at.Table)+" ADD "+key.SQL, u.at.DB, nil) {
			if n.Reference {
				parents = append(parents, n.Object)
			}
		}
	}
	return parents
}

// finisher adds what tables were made without. It runs beside the stream: indexes are built while changes are applied, by sessions of
// their own.
type finisher struct {
	admin  sqlconn.Config
	todo   []*unfinished
	log    func(msg string, args ...any)
	locked func(ctx context.Context, fn func(context.Context) error) error // runs fn while the stream does not write
	inUse  func(text string)                                               // says who has tables in use
	gently bool                                                            // one table at a time, with one thread
}

// MySQL error numbers that say how to go on.
const (
	erDupKeyName       = 1061
	erLockWaitTimeout  = 1205
	erOnlineLogTooBig  = 1799
	erForeignKeyExists = 1826
	erUnknownVariable  = 1193
	finisherSessions   = 4
)

// loadUnfinished reads what the stream's tables lack.
func (r *run) loadUnfinished(ctx context.Context, conn *sqlconn.Conn) ([]*unfinished, error) {
	mine := r.targetTables()
	res, err := conn.Query(ctx, "SELECT db_name, table_name, definitions FROM _braid.deferred ORDER BY db_name, table_name")
	if err != nil {
		return nil, fmt.Errorf("read what tables lack: %w", err)
	}
	var todo []*unfinished
	for _, c := range res.Rows {
		u := &unfinished{at: TargetTable{string(c[0]), string(c[1])}, turn: make(chan struct{}, 1)}
		name, ours := mine[u.at.DB][u.at.Table]
		if !ours {
			continue
		}
		if p := r.planNamed(name); p != nil && !p.stale {
			u.source = p.Source
		}
		if err := json.Unmarshal(c[2], &u.d); err != nil {
			return nil, permanent{fmt.Errorf("what %s.%s lacks: %w", u.at.DB, u.at.Table, err)}
		}
		todo = append(todo, u)
	}
	return todo, nil
}

// siblingsCopy says that another stream of the workflow still copies here, into the same tables perhaps. The last one to end finishes the tables.
func (r *run) siblingsCopy(ctx context.Context, conn *sqlconn.Conn) (bool, error) {
	ids := make([]string, 0, len(r.others))
	for _, o := range r.others {
		if o.State.wanted() {
			ids = append(ids, fmt.Sprint(o.ID))
		}
	}
	if len(ids) == 0 {
		return false, nil
	}
	res, err := conn.Query(ctx, "SELECT 1 FROM _braid.vreplication v LEFT JOIN _braid.copy_state c ON c.vrepl_id=v.id AND c.done=0 "+
		"WHERE v.id IN ("+strings.Join(ids, ",")+") AND v.state IN ('Init','Copying') AND (v.pos='' OR c.vrepl_id IS NOT NULL) LIMIT 1")
	if err != nil {
		return false, fmt.Errorf("how far the other streams have copied: %w", err)
	}
	return len(res.Rows) > 0, nil
}

// run adds everything: the indexes of several tables at once, then all foreign keys, whose parents need their indexes. It can be repeated at any
// point. differences are what the tables have otherwise than their sources.
func (f *finisher) run(ctx context.Context) (differences []string, err error) {
	if err := f.each(ctx, func(ctx context.Context, conn *sqlconn.Conn, u *unfinished) error {
		return f.add(ctx, conn, u, u.d.IndexAlter)
	}); err != nil {
		return nil, err
	}
	if err := f.each(ctx, func(ctx context.Context, conn *sqlconn.Conn, u *unfinished) error {
		return f.add(ctx, conn, u, u.d.ForeignKeyAlter)
	}); err != nil {
		return nil, err
	}
	conn, err := f.session(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, u := range f.todo {
		err := u.inTurn(ctx, func() error {
			diffs, err := u.compare(ctx, conn)
			if err != nil {
				return err
			}
			differences = append(differences, diffs...)
			return ForgetDeferred(ctx, conn, u.at.DB, []string{u.at.Table})
		})
		if err != nil {
			return nil, err
		}
	}
	return differences, nil
}

// inTurn runs fn while nobody else works at the table, unless it is finished already.
func (u *unfinished) inTurn(ctx context.Context, fn func() error) error {
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-u.turn }()
	if u.gone {
		return nil
	}
	return fn()
}

// errInUse says that somebody uses a table, so that its definition could not be changed.
var errInUse = errors.New("the table is in use")

// each runs fn for all tables, the largest first. Those that somebody uses come again when the others are done, after a pause: while an ALTER waits, everybody
// else waits behind it.
func (f *finisher) each(ctx context.Context, fn func(context.Context, *sqlconn.Conn, *unfinished) error) error {
	todo := slices.Clone(f.todo)
	slices.SortStableFunc(todo, func(a, b *unfinished) int { return cmp.Compare(b.rows(), a.rows()) })
	for pause := timeouts.IndexPauseMin; ; pause = min(2*pause, timeouts.IndexPauseMax) {
		busy, err := f.round(ctx, todo, fn)
		if err != nil || len(busy) == 0 {
			return err
		}
		if err := f.tellInUse(ctx, busy); err != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
		todo = busy
	}
}

// round runs fn for the tables, several at a time, and returns those that somebody uses.
func (f *finisher) round(ctx context.Context, todo []*unfinished, fn func(context.Context, *sqlconn.Conn, *unfinished) error) (busy []*unfinished, err error) {
	work := make(chan *unfinished, len(todo))
	for _, u := range todo {
		work <- u
	}
	close(work)
	var mu sync.Mutex // of busy
	group, ctx := errgroup.WithContext(ctx)
	sessions := finisherSessions
	if f.gently {
		sessions = 1
	}
	for range min(sessions, len(todo)) {
		group.Go(func() error {
			conn, err := f.session(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			for u := range work {
				err := u.inTurn(ctx, func() error { return fn(ctx, conn, u) })
				if errors.Is(err, errInUse) {
					mu.Lock()
					busy = append(busy, u)
					mu.Unlock()
					continue
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return busy, err
}

// tellInUse says for whom the largest of the tables waits, as far as the account may know.
func (f *finisher) tellInUse(ctx context.Context, busy []*unfinished) error {
	conn, err := f.session(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	at := busy[0].at
	text := fmt.Sprintf("indexes or foreign keys of %s.%s are being added, and somebody uses the table", at.DB, at.Table)
	res, err := conn.Query(ctx, "SELECT DISTINCT t.PROCESSLIST_ID, t.PROCESSLIST_USER FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.THREAD_ID=m.OWNER_THREAD_ID "+
		"WHERE m.OBJECT_TYPE='TABLE' AND m.LOCK_STATUS='GRANTED' AND m.OBJECT_SCHEMA="+sqlconn.Quote(at.DB)+" AND m.OBJECT_NAME="+sqlconn.Quote(at.Table)+
		" AND t.PROCESSLIST_ID<>CONNECTION_ID() ORDER BY t.PROCESSLIST_ID LIMIT 5")
	if conn.Broken() {
		return err
	}
	switch {
	case err != nil || len(res.Rows) == 0: // it may not be seen
		text += ": sys.schema_table_lock_waits on the target may show who"
	default:
		who := make([]string, len(res.Rows))
		for i, c := range res.Rows {
			who[i] = fmt.Sprintf("%s (%s)", c[0], c[1])
		}
		text += ": session " + strings.Join(who, ", ")
	}
	f.log(text)
	f.inUse(text)
	return nil
}

func (u *unfinished) rows() int64 {
	if u.source == nil {
		return 0
	}
	return u.source.Rows
}

// session has the settings under which definitions mean what SHOW CREATE TABLE printed, and in which foreign keys are added without a look at the rows:
// they are the source's, right or not.
func (f *finisher) session(ctx context.Context) (*sqlconn.Conn, error) {
	conn, err := sqlconn.Dial(ctx, f.admin)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "SET NAMES utf8mb4, foreign_key_checks=0")
	if err == nil {
		settings := "SET SESSION innodb_ddl_buffer_size=67108864"
		if f.gently {
			settings += ", innodb_ddl_threads=1, innodb_parallel_read_threads=1"
		}
		if _, err = conn.Exec(ctx, settings); sqlconn.ErrCode(err) == erUnknownVariable {
			err = nil // before 8.0.27
		}
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("session for indexes: %w", err)
	}
	return conn, nil
}

// add runs the statement that alter wants until it wants none.
func (f *finisher) add(ctx context.Context, conn *sqlconn.Conn, u *unfinished, alter func(have *schema.Table) string) error {
	alone, taken := false, "" // taken: the statement that a name stood against
	for {
		have, err := schema.Load(ctx, conn, u.at.DB, []string{u.at.Table})
		if err != nil {
			return err
		}
		todo := alter(have[0])
		if todo == "" {
			return nil
		}
		u.wait = cmp.Or(u.wait, timeouts.IndexLockWait)
		if _, err := conn.Exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", int(u.wait.Seconds()))); err != nil {
			return err
		}
		began := time.Now()
		exec := func(ctx context.Context) error {
			_, err := conn.Exec(ctx, todo)
			return err
		}
		if alone {
			err = f.locked(ctx, exec)
		} else {
			err = exec(ctx)
		}
		switch code := sqlconn.ErrCode(err); {
		case err == nil:
			f.log("added to the table", "table", u.at.Table, "sql", todo, "took", time.Since(began).Round(time.Millisecond))
		case (code == erDupKeyName || code == erForeignKeyExists) && todo == taken:
			return u.nameTaken(err)
		case code == erDupKeyName || code == erForeignKeyExists: // another stream's finisher was here; look again
			taken = todo
		case code == erLockWaitTimeout: // perhaps with the index built, and lost
			u.wait = min(max((time.Since(began)-u.wait)/10, timeouts.IndexLockWait), timeouts.IndexLockWaitMax)
			return errInUse
		case code == erOnlineLogTooBig && !alone: // changes came faster than the index was built
			alone = true
		default:
			return fmt.Errorf("%s: %w", todo, err)
		}
	}
}

// nameTaken: the names of a database's foreign keys are unique, and another table has one.
func (u *unfinished) nameTaken(err error) error {
	return permanent{errs.New(errs.TableDiffers, err, "table %s.%s lacks a foreign key, or an index, whose name is taken", u.at.DB, u.at.Table).
		With("on the target, drop what has the name, or give it another: SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=" + sqlconn.Quote(u.at.DB) + "; then start the stream again")}
}

// compare names what is otherwise than on the source.
func (u *unfinished) compare(ctx context.Context, conn *sqlconn.Conn) ([]string, error) {
	if u.source == nil {
		return nil, nil
	}
	have, err := schema.Load(ctx, conn, u.at.DB, []string{u.at.Table})
	if errors.Is(err, schema.ErrNoTable) {
		return []string{fmt.Sprintf("table %s.%s is gone", u.at.DB, u.at.Table)}, nil
	}
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, d := range schema.Differences(u.source, have[0]) {
		texts = append(texts, fmt.Sprintf("table %s.%s: %s", u.at.DB, u.at.Table, d))
	}
	return texts, nil
}
