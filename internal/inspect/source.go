package inspect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/gtid"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// Source is a log: that of a server, or files.
type Source struct {
	DB    sqlconn.Config // an account with REPLICATION SLAVE and REPLICATION CLIENT; not used with Files
	Files []string       // log files in their order
}

// Span is a part of a log. All conditions hold at once; the zero Span is the whole log.
type Span struct {
	From   *gtid.Set // begin after these transactions
	To     *gtid.Set // end when these have passed
	Since  time.Time // committed at this time or later, by the clock of the server whose log it is
	Until  time.Time // and before this one
	Limit  int       // that many transactions at most; 0 is no limit
	Now    bool      // begin at the end of a server's log
	Follow bool      // do not end with a server's log, but wait for more
}

// opened is a log that is ready to be read.
type opened struct {
	reader binlog.Reader
	end    *binlog.Coordinates // where to stop; nil: at the end of the files, or never
	wanted gtid.Set            // of Span.To: what must pass before the end
	load   func(ctx context.Context, db, table string) (*schema.Table, error)
	empty  bool // nothing can be in the span
	notes  []string
	close  func()
}

func (s *Source) open(ctx context.Context, span *Span, follow func(db, table string) bool) (*opened, error) {
	if len(s.Files) > 0 {
		reader, err := binlog.OpenFile(s.Files, binlog.Config{Follow: follow, Lenient: true})
		if err != nil {
			return nil, err
		}
		o := &opened{reader: reader, close: func() { reader.Close() }}
		if span.To != nil {
			o.wanted = *span.To
			if span.From != nil {
				o.wanted = o.wanted.Subtract(*span.From)
			}
		}
		return o, nil
	}
	return s.openServer(ctx, span, follow)
}

func (s *Source) openServer(ctx context.Context, span *Span, follow func(db, table string) bool) (*opened, error) {
	if err := s.preflight(ctx); err != nil {
		return nil, err
	}
	conn, err := sqlconn.Dial(ctx, s.DB)
	if err != nil {
		return nil, errs.New(errs.MySQLUnreachable, err, "binlog of %s", s.DB.Addr)
	}
	o := &opened{close: func() { conn.Close() }}
	o.load = func(ctx context.Context, db, table string) (*schema.Table, error) {
		tables, err := schema.Load(ctx, conn, db, []string{table})
		if err != nil {
			return nil, err
		}
		return tables[0], nil
	}
	if err := s.begin(ctx, conn, span, follow, o); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// needed is what cannot be done without even to look at a server's log.
var needed = []string{"version", "log_bin", "gtid_mode", "server_id", "privilege"}

func (s *Source) preflight(ctx context.Context) error {
	plain := s.DB
	plain.Plain = true // so that a server of another kind comes as far as to be told so
	conn, err := sqlconn.Dial(ctx, plain)
	if err != nil {
		return errs.New(errs.MySQLUnreachable, err, "binlog of %s", s.DB.Addr)
	}
	defer conn.Close()
	missing, err := binlog.Check(ctx, conn)
	if err != nil {
		return err
	}
	missing = slices.DeleteFunc(missing, func(p binlog.Precondition) bool { return !slices.Contains(needed, p.Name) })
	return binlog.Preconditions(s.DB.Addr, missing)
}

// begin finds the position of the span's beginning and its end, and opens the reader.
func (s *Source) begin(ctx context.Context, conn *sqlconn.Conn, span *Span, follow func(db, table string) bool, o *opened) error {
	executed, purged, err := binlog.Executed(ctx, conn)
	if err != nil {
		return fmt.Errorf("binlog of %s: %w", s.DB.Addr, err)
	}
	position, err := s.position(ctx, span, executed, purged, o)
	if err != nil {
		return err
	}
	if !span.Follow {
		end, err := binlog.End(ctx, conn)
		if err != nil {
			return fmt.Errorf("binlog of %s: %w", s.DB.Addr, err)
		}
		o.end = &end
		o.empty = position.Contains(executed)
	}
	if span.To != nil {
		o.wanted = span.To.Subtract(position)
		if !span.Follow {
			o.wanted = o.wanted.Intersect(executed)
		}
		o.empty = o.empty || o.wanted.Empty()
	}
	if o.empty {
		return nil
	}
	reader, err := binlog.Open(ctx, binlog.Config{DB: s.DB, Position: position, Follow: follow, Lenient: true})
	if err != nil {
		return err
	}
	o.reader = reader
	closeConn := o.close
	o.close = func() {
		reader.Close()
		closeConn()
	}
	return nil
}

// position is where to begin to read. What was purged counts as read: the span begins where the log does, and a note says so.
func (s *Source) position(ctx context.Context, span *Span, executed, purged gtid.Set, o *opened) (gtid.Set, error) {
	switch {
	case span.From != nil:
		if gone := purged.Subtract(*span.From); !gone.Empty() && !span.From.Empty() {
			o.notes = append(o.notes, fmt.Sprintf("%d transactions after --from-gtid are not in the log any more: %s", gone.Count(), gone))
		}
		if extra := span.From.Subtract(executed); !extra.Empty() && !span.Follow {
			o.notes = append(o.notes, fmt.Sprintf("the server does not have %d transactions of --from-gtid: %s", extra.Count(), extra))
		}
		return purged.Union(span.From.Intersect(executed)), nil
	case span.Now:
		return executed, nil
	case !span.Since.IsZero():
		at, err := binlog.Locate(ctx, s.DB, span.Since)
		if err != nil {
			return gtid.Set{}, err
		}
		if at.Oldest && !purged.Empty() {
			o.notes = append(o.notes, fmt.Sprintf("the server's log begins at %s: what was before is purged", at.Begins.Format(time.RFC3339)))
		}
		return purged.Union(at.Position), nil
	}
	return purged, nil
}
