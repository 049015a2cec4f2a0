package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"braid/internal/base/errs"
)

// app is what every command needs of its process.
type app struct {
	version        string
	in             io.Reader
	out, err       io.Writer
	output         string // table, json
	yes            bool
	dataDir        string
	controllerAddr string
}

// Main runs one command line and returns the exit code.
func Main(version string, args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	a := &app{version: version, in: in, out: out, err: errw}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	return a.fail(ctx, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "braid",
		Short:         "Keeps MySQL data moving while applications keep writing",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       a.version,
		Args:          cobra.ArbitraryArgs,
		RunE:          onlyVerbs,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "table or json")
	flags.BoolVarP(&a.yes, "yes", "y", false, "do not ask")
	flags.StringVar(&a.dataDir, "data-dir", env("BRAID_DATA_DIR", ".braid"), "directory of the cluster on this machine")
	flags.StringVar(&a.controllerAddr, "controller", env("BRAID_CONTROLLER", ""), "host:port of a controller (default: the one in --data-dir)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.output != "table" && a.output != "json" {
			return usageError{fmt.Errorf("--output %q: table or json", a.output)}
		}
		return nil
	}
	root.AddGroup(&cobra.Group{ID: "machine", Title: "A cluster on this machine:"},
		&cobra.Group{ID: "data", Title: "Moving data:"}, &cobra.Group{ID: "look", Title: "Looking and describing:"},
		&cobra.Group{ID: "daemon", Title: "Daemons:"})
	root.AddCommand(a.upCmd(), a.downCmd(), a.statusCmd(), a.demoCmd(), a.mysqlCmd())
	root.AddCommand(a.replicateCmd(), a.moveCmd(), a.reshardCmd(), a.workflowCmd())
	root.AddCommand(a.keyspaceCmd(), a.shardCmd(), a.vschemaCmd(), a.schemaCmd(), a.routingCmd(), a.errorsCmd(), a.streamCmd(), a.binlogCmd(), a.checkCmd())
	root.AddCommand(a.tabletCmd(), a.gateCmd(), a.controllerCmd(), a.etcdCmd())
	return root
}

// usageError marks what the caller typed wrong: exit code 2.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exitError carries an exit code of its own; its text has been printed already when err is nil.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}
func (e exitError) Unwrap() error { return e.err }

const exitInterrupted = 130

// fail prints an error and chooses the exit code.
func (a *app) fail(ctx context.Context, err error) int {
	var exit exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			errs.Render(a.err, exit.err, a.output == "json")
		}
		return exit.code
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)) {
		fmt.Fprintln(a.err, "interrupted")
		return exitInterrupted
	}
	var usage usageError
	if errors.As(err, &usage) {
		errs.Render(a.err, errs.New(errs.BadInput, nil, "%s", usage.error).With("See `braid help`, and --help of each command."), a.output == "json")
		return 2
	}
	errs.Render(a.err, err, a.output == "json")
	return errs.ExitCode(err)
}

var errInterrupted = errors.New("interrupted")

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// terminal reports whether a stream is a terminal.
func terminal(s any) bool {
	f, ok := s.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks before something is destroyed. Without a terminal it wants --yes.
func (a *app) confirm(cmd *cobra.Command, question string) error {
	if a.yes {
		return nil
	}
	if !terminal(a.in) || a.output == "json" {
		return exitError{3, fmt.Errorf("%s Nothing was changed: run `%s --yes` to go on", question, cmd.CommandPath())}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(a.in, &answer); err != nil || (answer != "y" && answer != "yes") {
		return exitError{3, errors.New("not confirmed: nothing was changed")}
	}
	return nil
}

func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s takes %d argument(s), got %d: %s", cmd.CommandPath(), n, len(args), cmd.UseLine())}
		}
		return nil
	}
}

// noun is a command that only has verbs.
func noun(use, short, group string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, GroupID: group, RunE: onlyVerbs}
	c.AddCommand(verbs...)
	return c
}

// onlyVerbs runs a command that does nothing itself.
func onlyVerbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("%s has no verb %q", cmd.CommandPath(), args[0])
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usageError{errors.New(text)}
}
