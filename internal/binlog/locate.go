package binlog

import (
	"cmp"
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"braid/internal/base/errs"
	"braid/internal/gtid"
	"braid/internal/sqlconn"
)

// Located is a place in the log for a time.
type Located struct {
	Position gtid.Set  // a reader that goes on after it sees everything that was committed at the time or later
	Begins   time.Time // when the log's file at this position was begun
	Oldest   bool      // the server's log begins only here, after the time that was asked for
}

// Locate finds where to begin for what was committed since a time. It opens a few of the server's log files for their beginnings.
func Locate(ctx context.Context, db sqlconn.Config, since time.Time) (Located, error) {
	files, err := logFiles(ctx, db)
	if err != nil {
		return Located{}, err
	}
	probed := map[int]Located{}
	var failed error
	probe := func(i int) Located {
		l, ok := probed[i]
		if !ok && failed == nil {
			if l, err = probeFile(ctx, db, files[i]); err != nil {
				failed = err
			}
			probed[i] = l
		}
		return l
	}
	// Times in the log have seconds; a transaction may get its time just before its file is begun.
	bound := since.Add(-2 * time.Second)
	later := sort.Search(len(files), func(i int) bool { return probe(i).Begins.After(bound) })
	l := probe(max(later-1, 0))
	l.Oldest = later == 0
	return l, failed
}

func logFiles(ctx context.Context, db sqlconn.Config) ([]string, error) {
	conn, err := sqlconn.Dial(ctx, db)
	if err != nil {
		return nil, errs.New(errs.MySQLUnreachable, err, "binlog of %s", db.Addr)
	}
	defer conn.Close()
	res, err := conn.Query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("binlog of %s: list its files: %w", db.Addr, err)
	}
	files := make([]string, len(res.Rows))
	for i, row := range res.Rows {
		files[i] = string(row[0])
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("binlog of %s: the server has no files", db.Addr)
	}
	return files, nil
}

// probeFile reads when a file was begun, and which transactions are in the files before it.
func probeFile(ctx context.Context, db sqlconn.Config, name string) (l Located, err error) {
	w, err := dialWire(ctx, db, nil, seen{})
	if err != nil {
		return l, err
	}
	defer w.sock.Close()
	defer context.AfterFunc(ctx, func() { w.sock.Close() })()
	if err := w.dumpFile(name); err != nil {
		return l, err
	}
	for {
		ev, err := w.next()
		if err != nil {
			return l, fmt.Errorf("begin of %s: %w", name, cmp.Or(context.Cause(ctx), err))
		}
		switch ev.header.EventType {
		case replication.FORMAT_DESCRIPTION_EVENT:
			l.Begins = time.Unix(int64(ev.header.Timestamp), 0)
		case replication.PREVIOUS_GTIDS_EVENT:
			l.Position, err = gtid.Decode(ev.body)
			return l, err
		}
	}
}
