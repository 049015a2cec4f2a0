package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
)

func (a *app) keyspaceCmd() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List keyspaces and their shards", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return a.listKeyspaces(cmd.Context(), "")
	}}
	var shards []string
	var dryRun bool
	create := &cobra.Command{Use: "create NAME", Short: "Create a keyspace", Args: exactArgs(1),
		Example: "  braid keyspace create orders --shards -80,80-",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Change, error) {
				return c.CreateKeyspace(ctx, &controlpb.CreateKeyspaceRequest{Keyspace: args[0], Shards: shards, DryRun: dryRun})
			})
		}}
	create.Flags().StringSliceVar(&shards, "shards", []string{"0"}, "its shards; together they cover the key space")
	dryRunFlag(create, &dryRun)
	return noun("keyspace", "Keyspaces", "look", list, create)
}

func (a *app) shardCmd() *cobra.Command {
	list := &cobra.Command{Use: "list KEYSPACE", Short: "List the shards of a keyspace", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return a.listKeyspaces(cmd.Context(), args[0])
	}}
	var dryRun bool
	create := &cobra.Command{Use: "create KEYSPACE/SHARD…", Short: "Add shards; they serve nothing until a reshard switches to them", Args: cobra.ArbitraryArgs,
		Example: "  braid shard create customer/-80 customer/80-",
		RunE: func(cmd *cobra.Command, args []string) error {
			keyspace, shards, err := shardArgs(cmd, args)
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Change, error) {
				return c.CreateShards(ctx, &controlpb.CreateShardsRequest{Keyspace: keyspace, Shards: shards, DryRun: dryRun})
			})
		}}
	dryRunFlag(create, &dryRun)
	del := &cobra.Command{Use: "delete KEYSPACE/SHARD…", Short: "Remove shards that serve nothing", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			keyspace, shards, err := shardArgs(cmd, args)
			if err != nil {
				return err
			}
			if !dryRun {
				if err := a.confirm(cmd, fmt.Sprintf("Remove %s from the topology?", strings.Join(args, ", "))); err != nil {
					return err
				}
			}
			return a.change(cmd.Context(), func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Change, error) {
				return c.DeleteShards(ctx, &controlpb.DeleteShardsRequest{Keyspace: keyspace, Shards: shards, DryRun: dryRun})
			})
		}}
	dryRunFlag(del, &dryRun)
	return noun("shard", "Shards of a keyspace", "look", list, create, del)
}

// shardArgs reads arguments of the form keyspace/shard, all of one keyspace.
func shardArgs(cmd *cobra.Command, args []string) (keyspace string, shards []string, err error) {
	if len(args) == 0 {
		return "", nil, usageError{fmt.Errorf("%s needs keyspace/shard, such as customer/-80", cmd.CommandPath())}
	}
	for _, arg := range args {
		ks, shard, ok := strings.Cut(arg, "/")
		if !ok || ks == "" || shard == "" {
			return "", nil, usageError{fmt.Errorf("%q is not of the form keyspace/shard, such as customer/-80", arg)}
		}
		if keyspace != "" && ks != keyspace {
			return "", nil, usageError{fmt.Errorf("%s takes shards of one keyspace, not of %s and %s", cmd.CommandPath(), keyspace, ks)}
		}
		keyspace, shards = ks, append(shards, shard)
	}
	return keyspace, shards, nil
}

func (a *app) listKeyspaces(ctx context.Context, keyspace string) error {
	resp, err := call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ListKeyspacesResponse, error) {
		return c.ListKeyspaces(ctx, &controlpb.ListKeyspacesRequest{Keyspace: keyspace})
	})
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printProto(a.out, resp)
	}
	t := newTable(a.out, "KEYSPACE", "SHARD", "PRIMARY", "SERVES")
	for _, ks := range resp.Keyspaces {
		for _, s := range ks.Shards {
			t.row(ks.Name, s.Name, dash(s.Primary), dash(strings.Join(s.Serving, ",")))
		}
	}
	return t.flush()
}

func (a *app) listTablets(ctx context.Context) error {
	resp, err := call(ctx, a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ListTabletsResponse, error) {
		return c.ListTablets(ctx, &controlpb.ListTabletsRequest{})
	})
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printProto(a.out, resp)
	}
	t := newTable(a.out, "ALIAS", "SHARD", "TYPE", "SERVING", "LAG", "GRPC", "MYSQL", "REASON")
	for _, tb := range resp.Tablets {
		t.row(tb.Alias, tb.Keyspace+"/"+tb.Shard, tb.Type, tb.Serving, lag(tb.LagMs), tb.GrpcAddr, tb.MysqlAddr, tb.Reason)
	}
	return t.flush()
}

func (a *app) vschemaCmd() *cobra.Command {
	var dryRun bool
	var file, text string
	apply := &cobra.Command{Use: "apply KEYSPACE", Short: "Set the VSchema of a keyspace", Args: exactArgs(1),
		Example: "  braid vschema apply customer --file vschema.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := textOrFile(a.in, text, file, "--vschema", "--file")
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Change, error) {
				return c.ApplyVSchema(ctx, &controlpb.ApplyVSchemaRequest{Keyspace: args[0], VschemaJson: doc, DryRun: dryRun})
			})
		}}
	apply.Flags().StringVar(&file, "file", "", "file with the JSON (- for standard input)")
	apply.Flags().StringVar(&text, "vschema", "", "the JSON itself")
	dryRunFlag(apply, &dryRun)
	show := &cobra.Command{Use: "show KEYSPACE", Short: "Print the VSchema of a keyspace", Args: exactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		resp, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ShowVSchemaResponse, error) {
			return c.ShowVSchema(ctx, &controlpb.ShowVSchemaRequest{Keyspace: args[0]})
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, resp.VschemaJson)
		return err
	}}
	return noun("vschema", "How tables are sharded", "look", apply, show)
}

func (a *app) schemaCmd() *cobra.Command {
	var dryRun bool
	var file, sql string
	apply := &cobra.Command{Use: "apply KEYSPACE", Short: "Run DDL on every serving shard of a keyspace", Args: exactArgs(1),
		Example: "  braid schema apply commerce --sql 'CREATE TABLE note (id BIGINT PRIMARY KEY, body TEXT)'",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := textOrFile(a.in, sql, file, "--sql", "--file")
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), func(ctx context.Context, c controlpb.ControlClient) (*controlpb.Change, error) {
				return c.ApplySchema(ctx, &controlpb.ApplySchemaRequest{Keyspace: args[0], Sql: text, DryRun: dryRun})
			})
		}}
	apply.Flags().StringVar(&file, "file", "", "file with the statements (- for standard input)")
	apply.Flags().StringVar(&sql, "sql", "", "the statements themselves")
	dryRunFlag(apply, &dryRun)
	return noun("schema", "Table definitions", "look", apply)
}

func (a *app) routingCmd() *cobra.Command {
	show := &cobra.Command{Use: "show", Short: "Print where queries go, as JSON", Args: exactArgs(0), RunE: func(cmd *cobra.Command, _ []string) error {
		resp, err := call(cmd.Context(), a, func(ctx context.Context, c controlpb.ControlClient) (*controlpb.ShowRoutingResponse, error) {
			return c.ShowRouting(ctx, &controlpb.ShowRoutingRequest{})
		})
		if err != nil {
			return err
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(resp.RoutingJson), &doc); err != nil {
			return fmt.Errorf("routing: %w", err)
		}
		return printJSON(a.out, doc)
	}}
	return noun("routing", "Where queries go", "look", show)
}

func (a *app) errorsCmd() *cobra.Command {
	return &cobra.Command{Use: "errors [CODE]", Short: "Explain an error code, or list them all", GroupID: "look", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t := newTable(a.out, "CODE", "NAME", "MEANING", "REMEDY")
			found := false
			for _, d := range errs.All() {
				if len(args) == 0 || strings.HasPrefix(args[0], d.Code) {
					t.row(d.Code, d.Name, d.Text, d.Remedy)
					found = true
				}
			}
			if !found {
				return usageError{fmt.Errorf("no error %q; `braid errors` lists them", args[0])}
			}
			return t.flush()
		}}
}

// change runs a verb that answers with a Change and prints it.
func (a *app) change(ctx context.Context, fn func(context.Context, controlpb.ControlClient) (*controlpb.Change, error)) error {
	resp, err := call(ctx, a, fn)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printProto(a.out, resp)
	}
	printSteps(a.out, resp.Steps)
	if !resp.Changed {
		fmt.Fprintln(a.err, "nothing was changed")
	}
	return nil
}

func dryRunFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "dry-run", false, "print what would be done, change nothing")
}

// textOrFile reads a document given as text, file, or standard input.
func textOrFile(in io.Reader, text, file, textFlag, fileFlag string) (string, error) {
	switch {
	case (text == "") == (file == ""):
		return "", usageError{fmt.Errorf("give %s or %s", textFlag, fileFlag)}
	case text != "":
		return text, nil
	case file == "-":
		raw, err := io.ReadAll(in)
		return string(raw), err
	default:
		raw, err := os.ReadFile(file)
		return string(raw), err
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func lag(ms int64) string {
	if ms < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%d ms", ms)
}
