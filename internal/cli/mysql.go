package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"braid/internal/mysqld"
)

func (a *app) mysqlCmd() *cobra.Command {
	install := &cobra.Command{Use: "install", Short: "Find a MySQL server, or unpack one into the cache directory", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			bin, err := mysqld.Ensure(cmd.Context(), func(line string) { fmt.Fprintln(a.err, line) })
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.out, map[string]any{"apiVersion": apiVersion, "path": bin.Path, "version": bin.Version.String()})
			}
			_, err = fmt.Fprintf(a.out, "MySQL %s at %s\n", bin.Version, bin.Path)
			return err
		}}
	return noun("mysql", "The MySQL server that clusters on this machine use", "machine", install)
}
