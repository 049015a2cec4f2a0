package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"golang.org/x/sync/errgroup"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/schema"
	"braid/internal/sqlast"
	"braid/internal/sqlconn"
	"braid/internal/topo"
)

type tableDefinition = schema.Table

func fencedHere(d dest, workflow string) error {
	return hold(errs.New(errs.Fenced, nil, "%s/%s takes no writes: workflow %s is switching its traffic", d.keyspace, d.shard, workflow))
}

// runPlan runs a plan and writes the answer. A holdError means that nothing was done and nothing was written.
func (s *session) runPlan(ctx context.Context, pl *plan, stmt *sqlast.Statement) error {
	if len(pl.parts) > 1 || pl.move != nil {
		if what := stmt.Pins(); what != "" {
			return unsupported("%s over several shards", what)
		}
	}
	switch {
	case pl.move != nil:
		return s.writeMany(ctx, pl, s.moveRows)
	case len(pl.parts) == 1 && asksAboutLast(stmt) && s.backends[s.last] != nil:
		pl.parts[0].dest = s.last
		return s.relay(ctx, pl, stmt)
	case len(pl.parts) == 1:
		return s.relay(ctx, pl, stmt)
	case pl.merge != nil:
		return s.scatter(ctx, pl)
	case stmt.Kind == sqlast.DDL:
		return s.ddl(ctx, pl)
	}
	return s.writeMany(ctx, pl, s.writeParts)
}

// asksAboutLast says whether a query without tables is about the statement before it, which only its server knows.
func asksAboutLast(stmt *sqlast.Statement) bool {
	if stmt.Kind != sqlast.Select || len(stmt.Tables()) > 0 {
		return false
	}
	lower := strings.ToLower(stmt.SQL)
	for _, f := range []string{"row_count(", "found_rows(", "warning_count", "error_count"} {
		if strings.Contains(lower, f) {
			return true
		}
	}
	return false
}

// backend returns the session's connection for a shard, ready to use: alive, set up, and in the transaction if one is open.
func (s *session) backend(ctx context.Context, d dest) (*backend, error) {
	b := s.backends[d]
	if b != nil && !b.inTxn && !b.Alive() {
		if b.pinned {
			s.drop(b)
			return nil, errs.New(errs.NotServing, nil, "the session's state on %s (temporary tables, locks, variables) is lost: its server ended the connection", d)
		}
		s.drop(b)
		b = nil
	}
	if b == nil {
		t, err := s.g.tabletFor(d)
		if err != nil {
			return nil, err
		}
		if b, err = s.g.pool.get(ctx, d, t, s.c.Has(mysql.CLIENT_FOUND_ROWS)); err != nil {
			return nil, err
		}
		s.backends[d] = b
	}
	return b, s.replay(ctx, b)
}

// replay makes a backend's settings those of the session.
func (s *session) replay(ctx context.Context, b *backend) error {
	if b.settings == s.settings.sql {
		return nil
	}
	if _, err := b.control(ctx, s.settings.sql); err != nil {
		return s.failed(b, err, false)
	}
	b.settings = s.settings.sql
	return nil
}

// tabletFor picks a tablet of a shard: the primary, or any that serves of another type.
func (g *Gate) tabletFor(d dest) (topo.Tablet, error) {
	cache := g.deps.Cache
	if d.typ == topo.Primary {
		if t, ok := cache.PrimaryOf(d.keyspace, d.shard); ok {
			return t, nil
		}
		return topo.Tablet{}, hold(errs.New(errs.NoPrimary, nil, "shard %s/%s has no living primary", d.keyspace, d.shard))
	}
	tablets := slices.DeleteFunc(cache.TabletsOf(d.keyspace, d.shard, d.typ), func(t topo.Tablet) bool { return !t.Serving })
	if len(tablets) == 0 {
		return topo.Tablet{}, hold(errs.New(errs.NoPrimary, nil, "shard %s/%s has no %s that serves", d.keyspace, d.shard, d.typ))
	}
	return tablets[rand.IntN(len(tablets))], nil
}

// anyBackend is a backend of the session's keyspace, or of any; nil when there is no keyspace at all. It need not be in the
// transaction.
func (s *session) anyBackend(ctx context.Context) (*backend, error) {
	for _, b := range s.backends {
		if b.inTxn || b.Alive() {
			return s.backend(ctx, b.dest)
		}
	}
	p := s.planner(ctx)
	if len(p.routing.Keyspaces) == 0 {
		return nil, nil
	}
	pl := &plan{}
	if err := p.anywhere(pl, sqlast.Parse("SELECT 1"), false); err != nil {
		return nil, err
	}
	return s.backend(ctx, pl.parts[0].dest)
}

// ready returns a backend that takes part in the open transaction, if there is one. joined says that it has just joined.
func (s *session) ready(ctx context.Context, d dest) (b *backend, joined bool, err error) {
	if b, err = s.backend(ctx, d); err != nil {
		return nil, false, err
	}
	if !s.txn.open {
		return b, false, nil
	}
	joined = !b.inTxn
	return b, joined, s.join(ctx, b)
}

// relay runs a plan of one part and passes its answer on as it comes.
func (s *session) relay(ctx context.Context, pl *plan, stmt *sqlast.Statement) error {
	pt := pl.parts[0]
	b, joined, err := s.ready(ctx, pt.dest)
	if err != nil {
		return err
	}
	stop := b.Under(ctx)
	defer stop()
	s.opaque = pl.write && !opensTxn(stmt) || stmt.Kind == sqlast.Call
	defer func() { s.opaque = false }()
	resp, err := b.first(pl, pt)
	if err != nil {
		return s.failed(b, err, pl.write)
	}
	if resp.Err != nil {
		return s.serverError(ctx, b, joined, resp.Err)
	}
	if stmt.Pins() != "" {
		b.pinned = true
	}
	b.locked, b.fresh = b.locked || b.inTxn && pl.write, false
	s.last = pt.dest
	resp, err = b.Relay(s.c, resp, s.adjust(b, pl))
	b.wrote = b.wrote || b.inTxn && pl.write && (s.opaque || err != nil || resp.OK.Affected > 0)
	if err == nil {
		s.warned = resp.Err == nil && resp.OK.Warnings > 0
		return nil // an error of the server after the first row was passed on as well
	}
	if errors.Is(err, mysqlproto.ErrClient) {
		s.drop(b)
		return err
	}
	// The answer is on its way already: all that can be done is to end it.
	if err := s.failed(b, err, pl.write); !isHold(err) {
		return err
	}
	return errs.New(errs.NotServing, err, "the connection to %s was lost in the middle of the answer", pt.dest)
}

// first sends a part and reads the first packet of the answer.
func (b *backend) first(pl *plan, pt part) (mysqlproto.Response, error) {
	if err := b.Send(mysql.COM_QUERY, tagged(nil, pl.epoch, pl.write, pt.dest, pl.tables, pt.sql)); err != nil {
		return mysqlproto.Response{}, err
	}
	return b.Response()
}

// serverError judges an error that a server answered with. A refusal is one that can wait.
func (s *session) serverError(ctx context.Context, b *backend, joined bool, e *mysql.MyError) error {
	err := refusedOr(e)
	switch {
	case isHold(err) && joined:
		s.leave(ctx, b)
	case isHold(err) && !b.inTxn && errors.Is(err, errs.NotServing):
		s.drop(b) // the next try may find another tablet
	case e.Code == mysql.ER_LOCK_DEADLOCK && s.txn.implicit:
		// The transaction is of this statement alone, and all of it is rolled back: it is begun again.
		return hold(errs.New(errs.NotServing, e, "%s", b.dest))
	case e.Code == mysql.ER_LOCK_DEADLOCK && b.inTxn:
		// The server has rolled back this shard's part; the rest must not stay.
		s.rollbackAll(ctx)
	}
	return err
}

// adjust makes of a server's OK what the client is told.
func (s *session) adjust(b *backend, pl *plan) func(*mysqlproto.OK) {
	return func(ok *mysqlproto.OK) {
		switch {
		case pl.firstID > 0:
			ok.InsertID = pl.firstID
			s.lastID, s.lastIDOn = pl.firstID, nil
		case ok.InsertID > 0:
			s.lastID, s.lastIDOn = ok.InsertID, b
		}
	}
}

// knowLastID asks the backend that knows LAST_INSERT_ID() best before it is given away. An explicit value that an INSERT
// wrote is in its answer, but not in the function.
func (s *session) knowLastID() {
	b := s.lastIDOn
	if b == nil || s.backends[b.dest] != b {
		return
	}
	_, rows, err := b.Query(s.life, string(tagged(nil, s.g.deps.Cache.Routing().Epoch, false, b.dest, nil, "SELECT LAST_INSERT_ID()")))
	if err != nil || len(rows) == 0 {
		return
	}
	fmt.Sscanf(string(rows[0][0]), "%d", &s.lastID) //nolint:errcheck // a number of MySQL
	s.lastIDOn = nil
}

// connectAll makes the backends of several parts ready, dialing those that are new at the same time.
func (s *session) connectAll(ctx context.Context, parts []part) error {
	var missing []dest
	for _, pt := range parts {
		if s.backends[pt.dest] == nil && !slices.Contains(missing, pt.dest) {
			missing = append(missing, pt.dest)
		}
	}
	if len(missing) < 2 {
		return nil // the caller dials a single one itself
	}
	made := make([]*backend, len(missing))
	group, gctx := errgroup.WithContext(ctx)
	for i, d := range missing {
		group.Go(func() error {
			t, err := s.g.tabletFor(d)
			if err != nil {
				return err
			}
			made[i], err = s.g.pool.get(gctx, d, t, s.c.Has(mysql.CLIENT_FOUND_ROWS))
			return err
		})
	}
	err := group.Wait()
	for i, d := range missing {
		if made[i] != nil {
			s.backends[d] = made[i]
		}
	}
	return err
}

// writeMany runs work on several shards as one transaction: the client's, or one of its own. Inside the client's transaction
// a statement that fails is undone as a whole.
func (s *session) writeMany(ctx context.Context, pl *plan, work func(context.Context, *plan) (mysqlproto.OK, error)) error {
	if s.txn.open {
		return s.writeInTxn(ctx, pl, work)
	}
	next := s.txn.next
	s.openTxn("BEGIN")
	s.txn.next, s.txn.implicit = next, true
	ok, err := work(ctx, pl)
	if err != nil {
		s.rollbackAll(ctx)
		return err
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	return toClient(s.c.WriteOK(ok))
}

func (s *session) writeInTxn(ctx context.Context, pl *plan, work func(context.Context, *plan) (mysqlproto.OK, error)) error {
	if err := s.setSavepoint(ctx, statementMark, -1); err != nil {
		return err
	}
	ok, err := work(ctx, pl)
	if !s.txn.open { // it was rolled back altogether
		return err
	}
	if undo := s.dropMark(ctx, err != nil); undo != nil {
		return undo
	}
	if err != nil {
		return err
	}
	return toClient(s.c.WriteOK(ok))
}

// statementMark is the savepoint before a statement on several shards.
const statementMark = "_braid_statement"

func (s *session) dropMark(ctx context.Context, undo bool) error {
	at := len(s.txn.savepoints) - 1
	if undo {
		if err := s.cutSavepoints(ctx, "ROLLBACK TO ", statementMark, at, at+1); err != nil {
			return err
		}
	}
	return s.cutSavepoints(ctx, "RELEASE SAVEPOINT ", statementMark, at, at)
}

// writeParts sends the parts, all at once, and adds up what they did.
func (s *session) writeParts(ctx context.Context, pl *plan) (mysqlproto.OK, error) {
	var sum mysqlproto.OK
	if err := s.connectAll(ctx, pl.parts); err != nil {
		return sum, err
	}
	var sent []*backend
	err := func() error {
		for _, pt := range pl.parts {
			b, _, err := s.ready(ctx, pt.dest)
			if err != nil {
				return err
			}
			if err := b.Send(mysql.COM_QUERY, tagged(nil, pl.epoch, pl.write, pt.dest, pl.tables, pt.sql)); err != nil {
				return s.failed(b, err, pl.write)
			}
			sent = append(sent, b)
		}
		return nil
	}()
	// Every answer is read, whatever became of the others: the connections are needed for the rollback.
	for i, b := range sent {
		ok, berr := s.writeResult(ctx, b, pl)
		if err == nil {
			err = berr
		}
		if i == 0 || !pl.copies {
			sum.Affected += ok.Affected
			sum.Warnings += ok.Warnings
		}
	}
	if pl.firstID > 0 && err == nil {
		sum.InsertID = pl.firstID
		s.lastID, s.lastIDOn = pl.firstID, nil
	}
	return sum, err
}

func (s *session) writeResult(ctx context.Context, b *backend, pl *plan) (mysqlproto.OK, error) {
	if s.backends[b.dest] != b {
		return mysqlproto.OK{}, hold(errs.New(errs.NotServing, nil, "%s", b.dest))
	}
	stop := b.Under(ctx)
	defer stop()
	resp, err := b.Response()
	if err == nil {
		resp, err = b.Drain(resp)
	}
	if err != nil {
		return mysqlproto.OK{}, s.failed(b, err, pl.write)
	}
	if resp.Err != nil {
		return mysqlproto.OK{}, s.serverError(ctx, b, false, resp.Err)
	}
	b.locked, b.wrote, b.fresh = b.locked || pl.write, b.wrote || resp.OK.Affected > 0, false
	return resp.OK, nil
}

// ddl runs a statement on each shard. There is no taking back: a failure tells where it was done.
func (s *session) ddl(ctx context.Context, pl *plan) error {
	var done []string
	for _, pt := range pl.parts {
		err := s.held(ctx, func() error {
			now := *pl
			now.epoch = s.g.deps.Cache.Routing().Epoch
			b, _, err := s.ready(ctx, pt.dest)
			if err != nil {
				return err
			}
			stop := b.Under(ctx)
			defer stop()
			resp, err := b.first(&now, pt)
			if err != nil {
				return s.failed(b, err, true)
			}
			if resp.Err != nil {
				return s.serverError(ctx, b, false, resp.Err)
			}
			_, err = b.Drain(resp)
			return err
		})
		if err != nil && len(done) > 0 {
			return errs.New(errs.PartialCommit, err, "done on shards %v of keyspace %s, failed on %s", done, pt.dest.keyspace, pt.dest.shard)
		}
		if err != nil {
			return err
		}
		done = append(done, pt.dest.shard)
	}
	return toClient(s.c.WriteOK(mysqlproto.OK{}))
}

// lookup runs a small query of the gate's own on a server of a keyspace.
func (s *session) lookup(ctx context.Context, keyspace, sql string) (*sqlconn.Result, error) {
	r := s.g.deps.Cache.Routing()
	shards := r.ServingShards(keyspace, topo.Primary)
	if len(shards) == 0 {
		return nil, hold(errs.New(errs.NotServing, nil, "keyspace %s has no shard that serves", keyspace))
	}
	d := dest{keyspace, shards[0], topo.Primary}
	t, err := s.g.tabletFor(d)
	if err != nil {
		return nil, err
	}
	b, err := s.g.pool.get(ctx, d, t, false)
	if err != nil {
		return nil, err
	}
	cols, rows, err := b.Query(ctx, string(tagged(nil, r.Epoch, false, d, nil, sql)))
	if err != nil {
		b.Abort()
		if err = refusedOrErr(err); mysqlproto.AsMySQL(err) == nil && !isHold(err) {
			err = hold(errs.New(errs.NotServing, err, "%s", d))
		}
		return nil, err
	}
	if !s.g.pool.keep(b) { // a query leaves nothing behind
		b.Close()
	}
	res := &sqlconn.Result{Rows: rows}
	for _, c := range cols {
		res.Columns = append(res.Columns, c.Name)
	}
	return res, nil
}

// querier reads definitions of tables through lookup.
type querier struct {
	s        *session
	keyspace string
}

func (q querier) Query(ctx context.Context, sql string) (*sqlconn.Result, error) {
	return q.s.lookup(ctx, q.keyspace, sql)
}

// table returns a table's definition.
func (s *session) table(ctx context.Context, keyspace, name string) (*schema.Table, error) {
	key := keyspace + "." + name
	if t := s.g.tables.get(key); t != nil {
		return t, nil
	}
	tables, err := schema.Load(ctx, querier{s, keyspace}, keyspace, []string{name})
	switch {
	case errors.Is(err, schema.ErrNoTable):
		return nil, mysqlproto.Error(mysql.ER_NO_SUCH_TABLE, "42S02", fmt.Sprintf("Table '%s.%s' doesn't exist", keyspace, name))
	case err != nil:
		return nil, err
	}
	s.g.tables.put(key, tables[0])
	return tables[0], nil
}

func orNotFound(err error) error {
	if err == nil {
		return errs.NotFound
	}
	return err
}
