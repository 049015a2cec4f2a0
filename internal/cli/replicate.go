package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"braid/internal/apply"
	"braid/internal/gtid"
	"braid/internal/replicate"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
	"braid/internal/writeset"
)

const replicateLong = `Makes one MySQL server a live copy of another, and keeps it so: the tables are copied while the source is written, without
a lock, then every change follows. No cluster, no etcd: one process, which keeps its state in the target's database _braid. Run again, it goes on where it was.

Both servers are checked first; what is missing is printed with the statement that mends it, and nothing is changed (exit code 3).
Databases and tables that the target lacks are made from the source's definitions. Tables that have rows already are refused.

Patterns: * stands for any characters, ? for one; every other character stands for itself (quote names with odd characters: ` + "`a.b`.`c=d`" + `).
A table is looked for in this order, by its name on the source: --databases; --tables and --ignore-tables without wildcards, then with.

It ends with Ctrl-C or SIGTERM, with every transaction up to the position applied and none behind it (exit code 0).
Several sources into one target: run one process each, with different --name.`

const replicateExample = `  BRAID_SOURCE='repl:secret@tcp(db1:3306)/' BRAID_TARGET='@/etc/braid/target.dsn' braid replicate
  braid replicate --source 'repl@tcp(db1)/' --target 'repl@tcp(db2)/' --databases 'shop*' --ignore-tables 'shop.tmp_*'
  braid replicate … --rename 'shop.orders=archive.orders' --once`

// replicateFlags are the flags as they are typed.
type replicateFlags struct {
	cfg            replicate.Config
	source, target string
	parallel       string
	order          string
	onDDL          string
	stopAt, skip   string
	withoutKey     string
	copyReplicas   []string
	metrics        string
}

func (a *app) replicateCmd() *cobra.Command {
	f := &replicateFlags{}
	cmd := &cobra.Command{Use: "replicate --source DSN --target DSN", Short: "Keep one MySQL server a live copy of another", GroupID: "data",
		Long: replicateLong, Example: replicateExample, Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return a.replicate(cmd.Context(), f.cfg, f.metrics)
		}}
	fl := cmd.Flags()
	fl.StringVar(&f.source, "source", env("BRAID_SOURCE", ""), "the server to read: "+dsnForm+", or @file (also in BRAID_SOURCE; password also in BRAID_SOURCE_PASSWORD)")
	fl.StringVar(&f.target, "target", env("BRAID_TARGET", ""), "the server to write: "+dsnForm+", or @file (also in BRAID_TARGET; password also in BRAID_TARGET_PASSWORD)")
	fl.StringVar(&f.cfg.Name, "name", replicate.DefaultName, "name of the stream on the target")
	s := &f.cfg.Selection
	fl.StringSliceVar(&s.Databases, "databases", nil, "databases to replicate (default: all but system schemas)")
	fl.StringSliceVar(&s.Tables, "tables", nil, "tables to replicate: db.table (default: all)")
	fl.StringSliceVar(&s.IgnoreTables, "ignore-tables", nil, "tables to leave out: db.table")
	fl.StringSliceVar(&s.Rename, "rename", nil, "another name on the target: db.t=db2.t2, or db.*=db2.* for a database")
	fl.StringArrayVar(&s.Where, "where", nil, "rows to replicate, of one table: db.t:expression (may be repeated)")
	fl.IntVar(&f.cfg.Workers, "workers", 0, fmt.Sprintf("sessions that apply (default %d)", apply.DefaultWorkers))
	fl.StringVar(&f.parallel, "parallel", "writeset", "what may run side by side: writeset, logical_clock, database, serial")
	fl.StringVar(&f.order, "commit-order", "preserve", "preserve: the target always shows a state that the source had; relaxed: commits as they come")
	fl.Int64Var(&f.cfg.MaxTPS, "max-tps", 0, "source transactions a second at most (default: no bound)")
	fl.DurationVar(&f.cfg.Delay, "delay", 0, "hold transactions back until they are so old (30s); not before the copy is complete")
	fl.StringVar(&f.onDDL, "on-ddl", "exec", "DDL of the source: exec, exec-ignore (go on after its error), ignore, stop")
	fl.StringVar(&f.stopAt, "stop-at", "", "GTID set: stop exactly behind it")
	fl.BoolVar(&f.cfg.Once, "once", false, "stop when everything is applied that the source had when the copy was complete")
	fl.StringVar(&f.skip, "skip", "", "GTID set: transactions to count as applied, without applying them; it is recorded")
	fl.StringVar(&f.withoutKey, "without-key", "refuse", "tables without a key: refuse; snapshot: copy each under one read view, opened while nobody writes to it; lock: likewise, "+
		"where need be while writes to it are locked out for a moment")
	fl.BoolVar(&f.cfg.AllowNonEmpty, "allow-nonempty", false, "copy into tables that have rows: those with the source's keys, primary or unique, are overwritten, others stay")
	fl.IntVar(&f.cfg.CopyReaders, "copy-readers", 0, "sessions that read the source's tables at the same time (default 4)")
	fl.DurationVar(&f.cfg.MaxLag, "max-replication-lag", 0, "pause the copy while the stream is further behind, and call it lagging from there on (default: 10s)")
	fl.StringVar(&f.metrics, "metrics", "", "address to serve Prometheus metrics at, under /metrics: 127.0.0.1:9104 (default: not served)")
	l := &f.cfg.Throttle
	fl.Int64Var(&l.SourceHistory, "copy-max-history", 0, "pause the copy while the source's history list is longer (default: not looked at)")
	fl.DurationVar(&l.CommitLatency, "copy-max-commit-latency", 0, "pause the copy while commits on the target take longer (default: not looked at)")
	fl.Int64Var(&l.Threads, "copy-max-threads", 0, "pause the copy while more threads run on the target (default: not looked at)")
	fl.StringArrayVar(&f.copyReplicas, "copy-replica", nil, "DSN of a replica of either server whose lag pauses the copy, or @file (may be repeated)")
	fl.DurationVar(&l.ReplicaLag, "copy-max-replica-lag", 0, "pause the copy while one of these replicas is further behind")
	fl.StringVar(&l.Query, "copy-query", "", "pause the copy while this statement, run on the target, returns more than --copy-query-max")
	fl.Float64Var(&l.QueryMax, "copy-query-max", 0, "see --copy-query")
	return cmd
}

// parse makes the configuration of what was typed.
func (f *replicateFlags) parse() (err error) {
	if f.cfg.Source, err = readDSN("source", f.source, "BRAID_SOURCE_PASSWORD"); err != nil {
		return err
	}
	if f.cfg.Target, err = readDSN("target", f.target, "BRAID_TARGET_PASSWORD"); err != nil {
		return err
	}
	for _, dsn := range f.copyReplicas {
		replica, err := readDSN("copy-replica", dsn, "BRAID_REPLICA_PASSWORD")
		if err != nil {
			return err
		}
		f.cfg.Throttle.Replicas = append(f.cfg.Throttle.Replicas, replica)
	}
	for _, step := range []struct {
		flag string
		read func() error
	}{
		{"parallel", func() (err error) { f.cfg.Parallel, err = writeset.ParseMode(f.parallel); return err }},
		{"commit-order", func() (err error) { f.cfg.CommitOrder, err = apply.ParseOrder(f.order); return err }},
		{"on-ddl", func() (err error) { f.cfg.OnDDL, err = vreplication.ParseDDLPolicy(f.onDDL); return err }},
		{"without-key", func() (err error) { f.cfg.WithoutKey, err = vreplication.ParseWithoutKey(f.withoutKey); return err }},
		{"stop-at", func() (err error) { f.cfg.StopAt, err = gtid.Parse(f.stopAt); return err }},
		{"skip", func() (err error) { f.cfg.Skip, err = gtid.Parse(f.skip); return err }},
	} {
		if err := step.read(); err != nil {
			return usageError{fmt.Errorf("--%s: %w", step.flag, err)}
		}
	}
	return nil
}

// readDSN reads a DSN: as it is given, or from a file behind @, so that no secret need stand on a command line.
func readDSN(flag, dsn, passwordEnv string) (sqlconn.Config, error) {
	if path, isFile := strings.CutPrefix(dsn, "@"); isFile {
		raw, err := os.ReadFile(path)
		if err != nil {
			return sqlconn.Config{}, usageError{fmt.Errorf("--%s: %w", flag, err)}
		}
		dsn = strings.TrimRight(string(raw), "\r\n")
	}
	if dsn == "" {
		return sqlconn.Config{}, usageError{fmt.Errorf("--%s %s is missing (it may also come in BRAID_%s, or from a file: @path)", flag, dsnForm, strings.ToUpper(flag))}
	}
	cfg, err := parseDSN(dsn, env(passwordEnv, env("BRAID_PASSWORD", "")))
	if err != nil {
		return cfg, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return cfg, nil
}

func (a *app) replicate(ctx context.Context, cfg replicate.Config, metrics string) error {
	view := newReplicateView(a)
	log := slog.New(view.handler())
	registry := prometheus.NewRegistry()
	if metrics != "" {
		end, err := serveMetrics(metrics, registry)
		if err != nil {
			return usageError{fmt.Errorf("--metrics: %w", err)}
		}
		defer end()
	}
	return replicate.Run(ctx, cfg, replicate.Deps{Log: log, Report: view.report, Metrics: registry})
}

// serveMetrics serves what the registry has, until end is called.
func serveMetrics(addr string, registry *prometheus.Registry) (end func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var serving errgroup.Group
	serving.Go(func() error { return server.Serve(listener) })
	return func() {
		server.Close() //nolint:errcheck // nobody is waited for
		serving.Wait() //nolint:errcheck // it says that it was closed
	}, nil
}
