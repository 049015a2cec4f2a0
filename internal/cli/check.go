package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/sqlconn"
)

func (a *app) checkCmd() *cobra.Command {
	var dsn string
	source := &cobra.Command{
		Use:   "source --dsn DSN",
		Short: "Whether a MySQL server can be read from, and what mends it if not (exit code 3: something is missing)",
		Long: "Lists what streams need of a source: ok, missing (no stream starts), or advised (streams run, but something is lost).\n" +
			"The account is the one that streams will use. Nothing is changed.",
		Example: "  BRAID_PASSWORD=… braid check source --dsn 'braid@tcp(db1:3306)/'",
		Args:    atMostArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if dsn != "" {
					return usageError{fmt.Errorf("the DSN is given twice")}
				}
				dsn = args[0]
			}
			if dsn == "" {
				return usageError{fmt.Errorf("--dsn %s is missing", dsnForm)}
			}
			cfg, err := parseDSN(dsn, env("BRAID_PASSWORD", ""))
			if err != nil {
				return err
			}
			cfg.Plain = true // so that a server of another kind comes as far as to be told so
			conn, err := sqlconn.Dial(cmd.Context(), cfg)
			if err != nil {
				return errs.New(errs.MySQLUnreachable, err, "check of %s", cfg.Addr)
			}
			defer conn.Close()
			all, err := binlog.Survey(cmd.Context(), conn)
			if err != nil {
				return fmt.Errorf("check of %s: %w", cfg.Addr, err)
			}
			return a.printCheck(cfg.Addr, "source", all)
		},
	}
	source.Flags().StringVar(&dsn, "dsn", "", "the server: "+dsnForm+" (password also in BRAID_PASSWORD)")
	return noun("check", "Whether servers are ready", "look", source, a.checkTargetCmd())
}

func (a *app) printCheck(addr, role string, all []binlog.Precondition) error {
	missing := 0
	for _, p := range all {
		if p.Unmet() {
			missing++
		}
	}
	if a.output == "json" {
		if err := printJSON(a.out, map[string]any{"apiVersion": apiVersion, role: addr, "ready": missing == 0, "preconditions": all}); err != nil {
			return err
		}
		return exitIf(missing)
	}
	t := newTable(a.out, "CHECK", "STATUS", "FOUND", "WANTED")
	for _, p := range all {
		t.row(p.Name, p.Status, orDash(p.Have), p.Want)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, p := range all {
		if p.Status != binlog.OK {
			fmt.Fprintf(a.out, "\n%s (%s): %s\n  %s\n", p.Name, p.Status, p.Why, p.Remedy)
		}
	}
	if missing == 0 {
		fmt.Fprintf(a.out, "\n%s can be a %s\n", addr, role)
	} else {
		fmt.Fprintf(a.out, "\n%s cannot be a %s yet: %d missing\n", addr, role, missing)
	}
	return exitIf(missing)
}

// exitIf ends with the code for a missing precondition; what is missing has been printed.
func exitIf(missing int) error {
	if missing > 0 {
		return exitError{code: 3}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func atMostArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("%s takes at most %d argument(s), got %d: %s", cmd.CommandPath(), n, len(args), cmd.UseLine())}
		}
		return nil
	}
}
