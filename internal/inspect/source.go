package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
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
	To     *gtid.Set // end when these have passed; with Follow, also if the server does not have them yet
	Since  time.Time // committed at this time or later, by the clock of the server whose log it is
	Until  time.Time // and before this one
	Limit  int       // that many transactions at most; 0 is no limit
	Now    bool      // begin at the end of a server's log, unless To is in it already
	Follow bool      // do not end with a server's log, but wait for more, as long as To and Until have not passed
}

// opened is a log that is ready to be read.
type opened struct {
	reader binlog.Reader
	end    *binlog.Coordinates // where to stop; nil: at the end of the files, or never
	wanted gtid.Set            // of Span.To: what must pass before the end
	load   func(ctx context.Context, db, table string) (*schema.Table, error)
	// due says how long it is to Span.Until by the server's clock, and once that has passed, where the log ended; nil: nothing to wait for.
	due   func(ctx context.Context) (rest time.Duration, end *binlog.Coordinates, err error)
	empty bool // nothing can be in the span
	notes []string
	close func()
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
	pool := sqlconn.NewPool(s.DB, 1) // a log may be followed for days: a connection that was lost meanwhile is made again
	o := &opened{close: pool.Close}
	o.load = func(ctx context.Context, db, table string) (def *schema.Table, err error) {
		err = pool.Do(ctx, func(conn *sqlconn.Conn) error {
			tables, err := schema.Load(ctx, conn, db, []string{table})
			if err == nil {
				def = tables[0]
			}
			return err
		})
		return def, err
	}
	if err := pool.Do(ctx, func(conn *sqlconn.Conn) error { return s.begin(ctx, conn, pool, span, follow, o) }); err != nil {
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
	missing = slices.DeleteFunc(missing, func(p binlog.Precondition) bool {
		return !slices.Contains(needed, p.Name) || p.Want == binlog.SelectPrivilege
	})
	return binlog.Preconditions(s.DB.Addr, missing)
}

// begin finds the position of the span's beginning and its end, and opens the reader.
func (s *Source) begin(ctx context.Context, conn *sqlconn.Conn, later *sqlconn.Pool, span *Span, follow func(db, table string) bool, o *opened) error {
	executed, purged, err := binlog.Executed(ctx, conn)
	if err != nil {
		return fmt.Errorf("binlog of %s: %w", s.DB.Addr, err)
	}
	now, err := serverTime(ctx, conn)
	if err != nil {
		return fmt.Errorf("binlog of %s: %w", s.DB.Addr, err)
	}
	had := span.To != nil && executed.Contains(*span.To)
	span.Now = span.Now && !had
	span.Follow = span.Follow && !had && (span.Until.IsZero() || span.Until.After(now))
	if !span.Follow {
		o.early(span, executed, now)
	} else if !span.Until.IsZero() {
		o.due = func(ctx context.Context) (rest time.Duration, end *binlog.Coordinates, err error) {
			err = later.Do(ctx, func(conn *sqlconn.Conn) error {
				rest, end, err = due(ctx, conn, span.Until)
				return err
			})
			return rest, end, err
		}
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

// early notes which ends of a span that is not followed lie in the future: the log is read as far as it is.
func (o *opened) early(span *Span, executed gtid.Set, now time.Time) {
	if span.Since.After(now) {
		o.notes = append(o.notes, "--since lies in the future by the server's clock: nothing is there yet")
	}
	if span.Until.After(now) {
		o.notes = append(o.notes, "--until lies in the future by the server's clock: the log was read up to now")
	}
	if span.To == nil {
		return
	}
	if missing := span.To.Subtract(executed); !missing.Empty() {
		o.notes = append(o.notes, fmt.Sprintf("the server does not have %d transactions of --to-gtid: %s", missing.Count(), missing))
	}
}

// serverTime is the time by the server's clock.
func serverTime(ctx context.Context, conn *sqlconn.Conn) (time.Time, error) {
	res, err := conn.Query(ctx, "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))")
	if err != nil {
		return time.Time{}, fmt.Errorf("the server's clock: %w", err)
	}
	us, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the server's clock: %w", err)
	}
	return time.UnixMicro(us), nil
}

// due is opened.due. A transaction is stamped while it is written to the log, under the lock that telling the log's end takes: nothing that
// is stamped earlier comes behind an end that was told later.
func due(ctx context.Context, conn *sqlconn.Conn, until time.Time) (rest time.Duration, end *binlog.Coordinates, err error) {
	now, err := serverTime(ctx, conn)
	if err != nil || now.Before(until) {
		return until.Sub(now), nil, err
	}
	at, err := binlog.End(ctx, conn)
	return 0, &at, err
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
