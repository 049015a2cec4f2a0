package vstream

import (
	"context"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/gtid"
)

// ahead is what is known of the log that the stream has not come to.
type ahead struct {
	end      binlog.Coordinates // it was read up to here
	position gtid.Set           // there
	ddls     []*binlog.DDL      // that make definitions other ones
}

// prove shows that a definition which was read from the server is the one that rows without column names were written under. The server may have been
// ahead of the stream, and the types alone do not tell columns that have changed places. So the log between the
// stream and the moment of the reading is looked through: rows before a DDL of the table are not guessed at.
func (c *catalog) prove(ctx context.Context, t *table) error {
	if t.until == (binlog.Coordinates{}) || c.passed().Reaches(t.until) {
		return nil
	}
	if err := c.lookAhead(ctx, t.until); err != nil {
		return err
	}
	for _, d := range c.ahead.ddls {
		if !c.passed().Reaches(d.End) && t.until.Reaches(d.End) && c.concerns(d, t) {
			return errs.New(errs.StreamFailed, nil, "the source has changed the table since (%s: %s), and the rows before that have no column names, so that "+
				"it cannot be known which column a value is of", d.GTID, shorten(d.SQL)).With(
				"Copy the table again, in a stream that begins behind the change.",
				"To prevent it: SET GLOBAL binlog_row_metadata='FULL' (SET PERSIST, to keep it) on the source; the binlog then tells the definition itself.")
		}
	}
	t.until = binlog.Coordinates{}
	return nil
}

// lookAhead makes the DDLs known up to a point. What was read of the log is not read again.
func (c *catalog) lookAhead(ctx context.Context, until binlog.Coordinates) error {
	if c.ahead.end.File != "" && c.ahead.end.Reaches(until) {
		return nil
	}
	from := c.received()
	if at := c.passed(); c.ahead.end.File != "" && !at.Reaches(c.ahead.end) {
		from = c.ahead.position
	}
	found, position, err := c.changes(ctx, from, until)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(c.ahead.ddls, func(d *binlog.DDL) bool { return c.passed().Reaches(d.End) })
	c.ahead = ahead{end: until, position: position, ddls: append(kept, found...)}
	return nil
}

// concerns says whether a DDL touches a table.
func (c *catalog) concerns(d *binlog.DDL, t *table) bool {
	return slices.ContainsFunc(d.Objects, func(o binlog.Object) bool {
		if o.Table == "" {
			return strings.EqualFold(o.DB, t.def.DB)
		}
		return slices.Contains(c.spelt(o), t.name)
	})
}

func shorten(sql string) string {
	const most = 200
	if len(sql) > most {
		return sql[:most] + "…"
	}
	return sql
}

// changes implements definitions.
func (l *Local) changes(ctx context.Context, after gtid.Set, until binlog.Coordinates) (found []*binlog.DDL, position gtid.Set, err error) {
	nothing := func(string, string) bool { return false }
	r, err := binlog.Open(ctx, binlog.Config{DB: l.cfg.DB, Position: after, Follow: nothing})
	if err != nil {
		return nil, after, err
	}
	defer r.Close()
	for at := (binlog.Coordinates{}); !at.Reaches(until); {
		ev, err := binlog.Next(ctx, r)
		if err != nil {
			return nil, after, err
		}
		switch ev := ev.(type) {
		case *binlog.Transaction:
			if ev.Last {
				ev.Reach(&after)
				at = ev.End
			}
		case *binlog.DDL:
			ev.Reach(&after)
			if at = ev.End; !ev.Kept {
				found = append(found, ev)
			}
		case *binlog.Mark:
			at = ev.End
		}
	}
	return found, after, nil
}
