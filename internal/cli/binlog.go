package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"braid/internal/gtid"
	"braid/internal/inspect"
)

const binlogHelp = `
The log is that of a server (--dsn), or log files (binlog or relay log, in their order). Files are read without a server: columns have their names
if the log was written with binlog_row_metadata=FULL, and are @1, @2, … otherwise.

A span is chosen by GTIDs (--from-gtid, exclusive; --to-gtid), by time (--since, --until: ` + whenForms + `), and by --limit.
Times are those of the commit on the server whose log it is.
`

// spanFlags are what the verbs of braid binlog have in common.
type spanFlags struct {
	dsn, fromGTID, toGTID, since, until string
	limit                               int
}

func (f *spanFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dsn, "dsn", "", "the server: "+dsnForm+" (password also in BRAID_PASSWORD)")
	cmd.Flags().StringVar(&f.fromGTID, "from-gtid", "", "begin after these GTIDs (a set, as in gtid_executed)")
	cmd.Flags().StringVar(&f.toGTID, "to-gtid", "", "end when these GTIDs have passed")
	cmd.Flags().StringVar(&f.since, "since", "", "begin at this time")
	cmd.Flags().StringVar(&f.until, "until", "", "end before this time")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most this many transactions (0: all)")
}

// defaultSpan is what is looked at on a server when nothing is chosen.
const defaultSpan = 10 * time.Minute

// read makes source and span of the flags and the files.
func (f *spanFlags) read(files []string, now time.Time) (src *inspect.Source, span inspect.Span, err error) {
	src = &inspect.Source{Files: files}
	switch {
	case f.dsn == "" && len(files) == 0:
		return nil, span, usageError{fmt.Errorf("nothing to read: name a server with --dsn %s, or log files", dsnForm)}
	case f.dsn != "" && len(files) > 0:
		return nil, span, usageError{fmt.Errorf("--dsn and log files are two sources: give one of them")}
	case f.dsn != "":
		if src.DB, err = parseDSN(f.dsn, env("BRAID_PASSWORD", "")); err != nil {
			return nil, span, err
		}
	}
	if f.limit < 0 {
		return nil, span, usageError{fmt.Errorf("--limit %d is negative", f.limit)}
	}
	span.Limit = f.limit
	if span.From, err = gtidFlag("from-gtid", f.fromGTID); err != nil {
		return nil, span, err
	}
	if span.To, err = gtidFlag("to-gtid", f.toGTID); err != nil {
		return nil, span, err
	}
	if span.Since, err = parseWhen("since", f.since, now); err != nil {
		return nil, span, err
	}
	if span.Until, err = parseWhen("until", f.until, now); err != nil {
		return nil, span, err
	}
	if !span.Since.IsZero() && !span.Until.IsZero() && !span.Since.Before(span.Until) {
		return nil, span, usageError{fmt.Errorf("--since %s is not before --until %s", f.since, f.until)}
	}
	return src, span, nil
}

// recent gives a span of a server that has no beginning the default one.
func recent(src *inspect.Source, span *inspect.Span, now time.Time) {
	if len(src.Files) > 0 || span.From != nil || span.To != nil || !span.Since.IsZero() {
		return
	}
	end := now
	if !span.Until.IsZero() && span.Until.Before(now) {
		end = span.Until
	}
	span.Since = end.Add(-defaultSpan)
}

func gtidFlag(flag, text string) (*gtid.Set, error) {
	if text == "" {
		return nil, nil
	}
	set, err := gtid.Parse(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return &set, nil
}

func (a *app) binlogCmd() *cobra.Command {
	return noun("binlog", "What is in a binlog, how parallel it could be, why a replica lags", "look",
		a.binlogGroupsCmd(), a.binlogParallelismCmd(), a.binlogTopCmd(), a.binlogTailCmd())
}

// binlogVerb makes a verb that reads a span.
func (a *app) binlogVerb(use, short, long, example string, run func(ctx context.Context, src *inspect.Source, span inspect.Span, now time.Time) error) *cobra.Command {
	var flags spanFlags
	cmd := &cobra.Command{Use: use + " (--dsn DSN | FILE...)", Short: short, Long: long + "\n" + binlogHelp, Example: example,
		RunE: func(cmd *cobra.Command, files []string) error {
			now := time.Now()
			src, span, err := flags.read(files, now)
			if err != nil {
				return err
			}
			return run(cmd.Context(), src, span, now)
		}}
	flags.add(cmd)
	return cmd
}

func (a *app) binlogGroupsCmd() *cobra.Command {
	by := string(inspect.ByCommitOrder)
	cmd := a.binlogVerb("groups", "Transactions and what each must wait for",
		`One line per transaction, in the order of the log. Transactions of one group need nothing of each other.

--by commit-order    what ran together on the source (last_committed, sessions, commit times: servers since 8.4 lower last_committed by writesets)
--by logical-clock   what last_committed alone lets a replica run together
--by writeset        what the rows allow: computed again from the row images

Without a span, of a server: the last 10 minutes.`,
		"  braid binlog groups --dsn 'root@tcp(db1:3306)/' --since 10:00 --until 10:05\n  braid binlog groups --by writeset binlog.000042",
		func(ctx context.Context, src *inspect.Source, span inspect.Span, now time.Time) error {
			kind, err := inspect.ParseBy(by)
			if err != nil {
				return usageError{fmt.Errorf("--by: %w", err)}
			}
			recent(src, &span, now)
			return a.binlogGroups(ctx, src, span, kind)
		})
	cmd.Flags().StringVar(&by, "by", by, "commit-order, logical-clock or writeset")
	return cmd
}

func (a *app) binlogParallelismCmd() *cobra.Command {
	return a.binlogVerb("parallelism", "How wide the work is, and what workers would gain",
		fmt.Sprintf(`For each way to find dependencies: the critical path in transactions, how many could run at once, and the speed-up that a replay with 1 to 32 workers
reaches over one worker, if a transaction costs as much as 10 rows and its own rows.

Without a span, of a server: the last 10 minutes. At most %d transactions.`, inspect.MaxParallelism),
		"  braid binlog parallelism --dsn 'root@tcp(db1:3306)/' --since -1h",
		func(ctx context.Context, src *inspect.Source, span inspect.Span, now time.Time) error {
			recent(src, &span, now)
			if span.Limit == 0 || span.Limit > inspect.MaxParallelism {
				span.Limit = inspect.MaxParallelism
			}
			return a.binlogParallelism(ctx, src, span)
		})
}

func (a *app) binlogTopCmd() *cobra.Command {
	most := 10
	cmd := a.binlogVerb("top", "What made the volume, and what changed: why does the replica lag since ten o'clock",
		`Tables, kinds of statements, transaction sizes, hot rows and the biggest transactions of a span, against the span of the same length before it.

Without a span, of a server: the last 10 minutes, against the 10 minutes before.`,
		"  braid binlog top --dsn 'root@tcp(db1:3306)/' --since 10:00",
		func(ctx context.Context, src *inspect.Source, span inspect.Span, now time.Time) error {
			recent(src, &span, now)
			return a.binlogTop(ctx, src, span, now, most)
		})
	cmd.Flags().IntVar(&most, "rows", most, "tables, hot rows and transactions to show")
	return cmd
}

func (a *app) binlogTailCmd() *cobra.Command {
	var tables []string
	cmd := a.binlogVerb("tail", "Transactions with their rows, as they come",
		`Writes each transaction with its rows: text, or with --output json one JSON object per line. Values are text, NULL is null, bytes (and text that is not
UTF-8) are 0x and hexadecimal digits; of an update, text shows the key and what changed.

Of a server, tail begins now and follows: --from-gtid or --since begin earlier (or later), --to-gtid, --until and --limit end it, also where
that end is still to come. A --to-gtid that the server has already, alone, begins with the log.`,
		"  braid binlog tail --dsn 'root@tcp(db1:3306)/' --tables 'shop.*' --output json",
		func(ctx context.Context, src *inspect.Source, span inspect.Span, _ time.Time) error {
			filter, err := inspect.ParsePatterns(tables)
			if err != nil {
				return usageError{fmt.Errorf("--tables: %w", err)}
			}
			span.Now, span.Follow = span.From == nil && span.Since.IsZero(), true
			return a.binlogTail(ctx, src, span, filter)
		})
	cmd.Flags().StringSliceVar(&tables, "tables", nil, "only these tables: db.table, with * and ? as wildcards")
	return cmd
}
