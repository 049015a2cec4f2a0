package binlog

import (
	"context"
	"errors"
	"fmt"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// Executed reads the server's gtid_executed and gtid_purged.
func Executed(ctx context.Context, conn *sqlconn.Conn) (executed, purged gtid.Set, err error) {
	res, err := conn.Query(ctx, "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged")
	if err != nil {
		return executed, purged, fmt.Errorf("read GTID sets: %w", err)
	}
	if executed, err = gtid.Parse(string(res.Rows[0][0])); err != nil {
		return executed, purged, fmt.Errorf("gtid_executed: %w", err)
	}
	if purged, err = gtid.Parse(string(res.Rows[0][1])); err != nil {
		return executed, purged, fmt.Errorf("gtid_purged: %w", err)
	}
	return executed, purged, nil
}

// beginAttempts is how often Begin looks for a moment without prepared XA transactions.
const beginAttempts = 500

// Begin reads a position at which a stream can begin: everything is executed, and no XA transaction is prepared. What such a one has changed would be
// before the position, and its XA COMMIT behind it. That none is prepared is known when nothing was executed from before XA RECOVER to after it.
// On a server that is never quiet for so long, and shows no XA transaction, there are none.
func Begin(ctx context.Context, conn *sqlconn.Conn) (gtid.Set, error) {
	position, _, err := Executed(ctx, conn)
	if err != nil {
		return position, err
	}
	seen := false
	for range beginAttempts {
		prepared, err := xaPrepared(ctx, conn)
		if err != nil {
			return position, err
		}
		seen = seen || prepared
		before := position
		if position, _, err = Executed(ctx, conn); err != nil || !prepared && position.Equal(before) {
			return position, err
		}
	}
	if seen {
		return position, errors.New("the source has prepared XA transactions all the time: a stream can begin when it has none for a moment (XA RECOVER lists them)")
	}
	return position, nil
}

const erXARecoverDenied = 1401 // without XA_RECOVER_ADMIN: then it is not known

func xaPrepared(ctx context.Context, conn *sqlconn.Conn) (bool, error) {
	res, err := conn.Query(ctx, "XA RECOVER")
	if sqlconn.ErrCode(err) == erXARecoverDenied {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("prepared XA transactions of the source: %w", err)
	}
	return len(res.Rows) > 0, nil
}

// checkResume is the check of B4 on a connection of its own, for when the server has refused.
func checkResume(ctx context.Context, db sqlconn.Config, position gtid.Set) error {
	conn, err := sqlconn.Dial(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close()
	executed, purged, err := Executed(ctx, conn)
	if err != nil {
		return fmt.Errorf("binlog of %s: %w", db.Addr, err)
	}
	return compareResume(db.Addr, position, executed, purged)
}

// compareResume keeps B4. The server checks as well, but it compares only what has its own UUID, and its message names no GTIDs.
func compareResume(addr string, position, executed, purged gtid.Set) error {
	if gone := purged.Subtract(position); !gone.Empty() {
		return errs.New(errs.BinlogPurged, nil, "binlog of %s: %d transactions after the stream's position were purged: %s", addr, gone.Count(), gone).
			With("Copy the tables again: the changes in between exist nowhere any more.",
				"Raise binlog_expire_logs_seconds on the source so that it keeps more than a stream may be stopped for.")
	}
	if extra := position.Subtract(executed); !extra.Empty() {
		return errs.New(errs.StreamFailed, nil, "binlog of %s: the stream has %d transactions that the source does not have: %s", addr, extra.Count(), extra).
			With("If the source is a replica, wait until it has caught up, and start the stream again.",
				"If the source was restored or lost its last transactions in a crash, copy the tables again.")
	}
	return nil
}
