package vreplication

import (
	"context"
	"fmt"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// adopt gives a session the settings under which the source has run a statement: the same text then means the same definition. What needs a
// privilege is set only where the target has it otherwise. Keys that a server adds by itself are in the source's statement already.
func (r *run) adopt(ctx context.Context, conn *sqlconn.Conn, d *vstream.DDL) error {
	settings, err := binlog.Settings(d.Settings)
	if err != nil {
		return permanent{fmt.Errorf("DDL %s: %w", shorten(d.SQL), err)}
	}
	if len(settings) == 0 {
		return nil
	}
	if d.BegunUS > 0 { // rows that are there get it in a new column with a default of CURRENT_TIMESTAMP
		settings = append(settings, binlog.Setting{Name: "timestamp", Value: fmt.Sprintf("%d.%06d", d.BegunUS/1_000_000, d.BegunUS%1_000_000)})
	}
	settings = append(settings, binlog.Setting{Name: "sql_generate_invisible_primary_key", Value: "0", Guarded: true})
	var set []string
	for _, s := range settings {
		if s.Guarded {
			same, known, err := has(ctx, conn, s)
			if err != nil {
				return fmt.Errorf("session for DDL: %w", err)
			}
			if same || !known {
				continue
			}
		}
		set = append(set, "SESSION "+s.Name+"="+s.Value)
	}
	_, err = conn.Exec(ctx, "SET "+strings.Join(set, ", "))
	switch code := sqlconn.ErrCode(err); {
	case err == nil:
		return nil
	case code == erUnknownTimeZone:
		return permanent{errs.New(errs.DDLStopped, err, "%s: the target's session cannot have the settings of the source's session that has run: %s", d.GTID, shorten(d.SQL)).
			With("load the time zone tables on the target (mysql_tzinfo_to_sql), then start the stream again",
				"or do on the target what the statement does there, then go on behind it: braid replicate … --skip "+d.GTID)}
	}
	return fmt.Errorf("the session on the target gets the settings of the source's session for DDL %s: %w", shorten(d.SQL), err)
}

const erUnknownTimeZone = 1298

// has says whether a session has a setting already, and whether the server knows it: an older one does as the newer one does with it off.
func has(ctx context.Context, conn *sqlconn.Conn, s binlog.Setting) (same, known bool, err error) {
	sql := "SELECT @@SESSION." + s.Name
	if s.Name == "default_collation_for_utf8mb4" {
		sql = "SELECT ID FROM information_schema.COLLATIONS WHERE COLLATION_NAME=@@SESSION." + s.Name
	}
	res, err := conn.Query(ctx, sql)
	if sqlconn.ErrCode(err) == erUnknownVariable {
		return false, false, nil
	}
	if err != nil || len(res.Rows) == 0 {
		return false, true, err
	}
	return string(res.Rows[0][0]) == s.Value, true, nil
}
