package vstream

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// LocalConfig says which mysqld a Local reads.
type LocalConfig struct {
	DB     sqlconn.Config // an account with REPLICATION SLAVE, REPLICATION CLIENT and SELECT
	DBName string         // the database whose tables streams follow; those whose rules name databases need none
}

// Local is the Source of a mysqld that this process reaches directly. All its streams share one dump connection, that of its hub.
type Local struct {
	cfg LocalConfig
	log *slog.Logger
	hub *binlog.Hub
}

// NewLocal returns a Source. Nothing connects before Open, and some time after the last stream has ended nothing is connected any more.
func NewLocal(cfg LocalConfig, log *slog.Logger) *Local {
	return &Local{cfg: cfg, log: log, hub: binlog.NewHub(binlog.HubConfig{DB: cfg.DB, Log: log})}
}

// Close ends all streams and their connection. It may be called more than once.
func (l *Local) Close() { l.hub.Stop() }

// Open implements Source. It runs the preflight first (binlog.Check).
func (l *Local) Open(ctx context.Context, start Start) (Stream, error) {
	if err := start.Rules.Validate(); err != nil {
		return nil, errs.New(errs.BadInput, err, "stream of %s", l.cfg.DBName)
	}
	position, err := l.prepare(ctx, start)
	if err != nil {
		return nil, err
	}
	catalog := newCatalog(l.cfg.DBName, start.Rules, l)
	reader, err := l.hub.Open(ctx, position, catalog.follows)
	if err != nil {
		return nil, err
	}
	l.log.Info("stream started", "workflow", start.Workflow, "database", l.cfg.DBName, "position", position.String())
	chunks := &chunkReader{db: l.cfg.DB, sizes: map[string]*chunkSize{}}
	st := newStream(ctx, reader, catalog, chunks, position)
	st.server = xxhash.Sum64String(l.cfg.DB.Addr)
	return st, nil
}

// prepare checks the source and returns where the stream begins.
func (l *Local) prepare(ctx context.Context, start Start) (gtid.Set, error) {
	db := l.cfg.DB
	db.Plain = true // so that a server that is not MySQL comes as far as the preflight, which says so
	conn, err := sqlconn.Dial(ctx, db)
	if err != nil {
		return gtid.Set{}, errs.New(errs.MySQLUnreachable, err, "stream of %s", l.cfg.DBName)
	}
	defer conn.Close()
	missing, err := binlog.Check(ctx, conn)
	if err != nil {
		return gtid.Set{}, err
	}
	if err := binlog.Preconditions(l.cfg.DB.Addr, missing); err != nil {
		return gtid.Set{}, err
	}
	if start.FromNow {
		executed, _, err := binlog.Executed(ctx, conn)
		return executed, err
	}
	position, err := gtid.Parse(start.Position)
	if err != nil {
		return gtid.Set{}, errs.New(errs.BadInput, err, "position of a stream")
	}
	return position, nil
}

// load reads a definition. Definitions are read when a table first passes and after a DDL, so the connection is not kept.
func (l *Local) load(ctx context.Context, after gtid.Set, db, table string) (*schema.Table, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := waitExecuted(ctx, conn, after); err != nil {
		return nil, err
	}
	tables, err := schema.Load(ctx, conn, db, []string{table})
	if err != nil {
		return nil, err
	}
	if len(tables) != 1 {
		return nil, fmt.Errorf("definition of %s.%s: %d tables have this name", db, table, len(tables))
	}
	return tables[0], nil
}

// loadCollations reads the numbers by which the binlog names collations.
func (l *Local) loadCollations(ctx context.Context) (map[uint64]collation, error) {
	conn, err := sqlconn.Dial(ctx, l.cfg.DB)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	res, err := conn.Query(ctx, "SELECT c.ID, c.COLLATION_NAME, c.CHARACTER_SET_NAME, s.MAXLEN FROM information_schema.COLLATIONS c "+
		"JOIN information_schema.CHARACTER_SETS s ON s.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME")
	if err != nil {
		return nil, fmt.Errorf("read collations: %w", err)
	}
	all := make(map[uint64]collation, len(res.Rows))
	for _, row := range res.Rows {
		id, err := strconv.ParseUint(string(row[0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("collation %s: %w", row[1], err)
		}
		maxLen, err := strconv.ParseInt(string(row[3]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("collation %s: %w", row[1], err)
		}
		all[id] = collation{name: string(row[1]), charset: string(row[2]), maxLen: maxLen}
	}
	return all, nil
}
