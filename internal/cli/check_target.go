package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"braid/internal/base/errs"
	"braid/internal/replicate"
	"braid/internal/sqlconn"
)

func (a *app) checkTargetCmd() *cobra.Command {
	var dsn string
	var databases []string
	cmd := &cobra.Command{
		Use:   "target --dsn DSN",
		Short: "Whether a MySQL server can be written to, and what mends it if not (exit code 3: something is missing)",
		Long: "Lists what `braid replicate` needs of a target: ok, missing (nothing starts), or advised (it runs, but something is lost).\n" +
			"The account is the one that will write. Nothing is changed.",
		Example: "  BRAID_PASSWORD=… braid check target --dsn 'braid@tcp(db2:3306)/' --databases shop,crm",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readDSN("dsn", dsn, "BRAID_TARGET_PASSWORD")
			if err != nil {
				return err
			}
			cfg.Plain = true // so that a server of another kind comes as far as to be told so
			conn, err := sqlconn.Dial(cmd.Context(), cfg)
			if err != nil {
				return errs.New(errs.MySQLUnreachable, err, "check of %s", cfg.Addr)
			}
			defer conn.Close()
			all, err := replicate.CheckTarget(cmd.Context(), conn, "", databases)
			if err != nil {
				return fmt.Errorf("check of %s: %w", cfg.Addr, err)
			}
			return a.printCheck(cfg.Addr, "target", all)
		},
	}
	cmd.Flags().StringVar(&dsn, "dsn", "", "the server: "+dsnForm+", or @file (password also in BRAID_TARGET_PASSWORD)")
	cmd.Flags().StringSliceVar(&databases, "databases", nil, "databases that will be written: the account's privileges on them are checked")
	return cmd
}
