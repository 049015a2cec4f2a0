package binlog

import (
	"context"
	"fmt"
	"strconv"

	"braid/internal/sqlconn"
)

// End reads where the log ends: everything that any session has seen was written before this point.
func End(ctx context.Context, conn *sqlconn.Conn) (Coordinates, error) {
	row, err := logStatus(ctx, conn)
	if err != nil {
		return Coordinates{}, err
	}
	pos, err := strconv.ParseUint(string(row[1]), 10, 64)
	if err != nil {
		return Coordinates{}, fmt.Errorf("end of the binlog: %w", err)
	}
	return Coordinates{File: string(row[0]), Pos: pos}, nil
}

// logStatus is the row of SHOW BINARY LOG STATUS, which was SHOW MASTER STATUS before 8.2.
func logStatus(ctx context.Context, conn *sqlconn.Conn) ([][]byte, error) {
	const errParse = 1064
	res, err := conn.Query(ctx, "SHOW BINARY LOG STATUS")
	if sqlconn.ErrCode(err) == errParse {
		res, err = conn.Query(ctx, "SHOW MASTER STATUS")
	}
	if err != nil {
		return nil, fmt.Errorf("end of the binlog: %w", err)
	}
	if len(res.Rows) == 0 || len(res.Rows[0]) < 2 {
		return nil, fmt.Errorf("end of the binlog: the server writes none")
	}
	return res.Rows[0], nil
}
