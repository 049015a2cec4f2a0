package gate

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
	"braid/internal/sqlconn"
	"braid/internal/topo"
)

// sequences hands out values of sequence tables. Each sequence is fetched in blocks; a block belongs to one routing epoch,
// because a switch may raise the sequence, or move it.
type sequences struct {
	mu    sync.Mutex
	known map[string]*sequence // by keyspace.table
}

type sequence struct {
	mu    sync.Mutex // held while a block is fetched: those who wait want values of it
	epoch uint64
	next  uint64
	left  uint64
}

// next returns the first of n consecutive values.
func (q *sequences) next(ctx context.Context, s *session, name sqlast.Table, n uint64) (uint64, error) {
	q.mu.Lock()
	if q.known == nil {
		q.known = map[string]*sequence{}
	}
	key := name.Keyspace + "." + name.Name
	seq := q.known[key]
	if seq == nil {
		seq = &sequence{}
		q.known[key] = seq
	}
	q.mu.Unlock()

	seq.mu.Lock()
	defer seq.mu.Unlock()
	r := s.g.deps.Cache.Routing()
	if seq.epoch != r.Epoch {
		seq.left, seq.epoch = 0, r.Epoch
	}
	if seq.left < n {
		if err := seq.fetch(ctx, s, r, name, n); err != nil {
			return 0, fmt.Errorf("sequence %s: %w", key, err)
		}
	}
	first := seq.next
	seq.next += n
	seq.left -= n
	return first, nil
}

// fetch takes the next block from the table. It is one autocommit statement on a connection of its own: a transaction that is
// rolled back does not give values back.
func (q *sequence) fetch(ctx context.Context, s *session, r *topo.Routing, name sqlast.Table, n uint64) error {
	keyspace := r.TableKeyspace(name.Keyspace, name.Name, topo.Primary)
	shards := r.ServingShards(keyspace, topo.Primary)
	if len(shards) == 0 {
		return hold(errs.New(errs.NotServing, nil, "keyspace %s has no shard that serves", keyspace))
	}
	d := dest{keyspace, shards[0], topo.Primary}
	if w := r.Fenced(d.keyspace, d.shard, []string{name.Name}); w != "" {
		return fencedHere(d, w)
	}
	t, err := s.g.tabletFor(d)
	if err != nil {
		return err
	}
	b, err := s.g.pool.get(ctx, d, t, false)
	if err != nil {
		return err
	}
	defer func() {
		if !b.inTxn && err == nil && s.g.pool.keep(b) {
			return
		}
		b.Abort()
	}()
	var size uint64
	if size, err = q.cacheSize(ctx, b, r.Epoch, name.Name); err != nil {
		return err
	}
	block := max(size, n)
	sql := fmt.Sprintf("UPDATE %s SET next_id = LAST_INSERT_ID(next_id) + %d WHERE id = 0", sqlconn.QuoteIdent(name.Name), block)
	resp, err := b.Exec(ctx, string(tagged(nil, r.Epoch, true, d, []string{name.Name}, sql)))
	switch {
	case err != nil:
		// Whether a block was lost does not matter: nobody will get its values.
		err = hold(errs.New(errs.NotServing, err, "%s", d))
	case resp.Err != nil:
		err = refusedOr(resp.Err)
	case resp.OK.Affected == 0:
		err = mysqlproto.Error(mysql.ER_UNKNOWN_ERROR, "HY000", fmt.Sprintf("Table %s.%s has no row with id 0: INSERT INTO %s (id, next_id, cache) VALUES (0, 1, 1000)", keyspace, name.Name, name.Name))
	}
	if err != nil {
		return err
	}
	q.next, q.left = resp.OK.InsertID, block
	return nil
}

// cacheSize is the size of a block as the table says it.
func (q *sequence) cacheSize(ctx context.Context, b *backend, epoch uint64, table string) (uint64, error) {
	_, rows, err := b.Query(ctx, string(tagged(nil, epoch, false, b.dest, []string{table}, "SELECT cache FROM "+sqlconn.QuoteIdent(table)+" WHERE id = 0")))
	if err != nil {
		if err = refusedOrErr(err); mysqlproto.AsMySQL(err) == nil && !isHold(err) {
			err = hold(errs.New(errs.NotServing, err, "%s", b.dest))
		}
		return 0, err
	}
	if len(rows) == 0 || rows[0][0] == nil {
		return 1, nil
	}
	n, err := strconv.ParseUint(string(rows[0][0]), 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 1, nil //nolint:nilerr // one value at a time is slow and right
	}
	return n, nil
}

// nextValue is SELECT NEXT [n] VALUES FROM sequence: it returns the first.
func (s *session) nextValue(ctx context.Context, stmt *sqlast.Statement) error {
	name, count, ok := stmt.NextValue()
	n, isNumber := count.Uint()
	if !ok || !isNumber || n == 0 {
		return syntaxError(stmt)
	}
	if name.Keyspace == "" {
		p := s.planner(ctx)
		ks, err := p.find(name.Name, p.scope)
		if err != nil {
			return err
		}
		name.Keyspace = ks
	}
	var first uint64
	err := s.held(ctx, func() error {
		var err error
		first, err = s.g.sequences.next(ctx, s, name, n)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.c.WriteColumns([]mysqlproto.Column{mysqlproto.Int("nextval")}); err != nil {
		return toClient(err)
	}
	if err := s.c.WriteRow([][]byte{strconv.AppendUint(nil, first, 10)}); err != nil {
		return toClient(err)
	}
	return toClient(s.c.EndRows(mysqlproto.OK{}))
}
