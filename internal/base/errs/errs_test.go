package errs_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"braid/internal/base/errs"
)

var update = flag.Bool("update", false, "rewrite docs/errors/README.md")

func TestCatalogueIsComplete(t *testing.T) {
	code, name := regexp.MustCompile(`^BRAID[1-9]\d{3}$`), regexp.MustCompile(`^[A-Z][A-Z_]+$`)
	codes, names := map[string]bool{}, map[string]bool{}
	for _, d := range errs.All() {
		require.Regexp(t, code, d.Code)
		require.Regexp(t, name, d.Name)
		require.False(t, codes[d.Code], "%s is there twice", d.Code)
		require.False(t, names[d.Name], "%s is there twice", d.Name)
		codes[d.Code], names[d.Name] = true, true
		for what, text := range map[string]string{"text": d.Text, "cause": d.Cause, "remedy": d.Remedy} {
			require.NotEmpty(t, text, "%s: %s", d.Code, what)
		}
		require.NotRegexp(t, `[.:]$`, d.Text, d.Code)
		require.Regexp(t, `[.]$`, d.Remedy, d.Code)
		require.Len(t, d.SQLState, 5, d.Code)
		require.NotZero(t, d.MySQLErrno, d.Code)
		require.NotZero(t, d.GRPC, "%s would be OK on the wire", d.Code)
		require.Contains(t, []errs.Class{errs.Failed, errs.Usage, errs.ActionRequired, errs.Differences, errs.TimedOut}, d.Class)
		require.Same(t, d, errs.Lookup(d.Code))
		require.Same(t, d, errs.Lookup(strings.ToLower(d.Name)))
		require.Same(t, d, errs.Lookup(d.Code+"_"+d.Name))
	}
	require.Nil(t, errs.Lookup("BRAID0000"))
}

func TestMatching(t *testing.T) {
	cause := errors.New("connection reset")
	err := fmt.Errorf("switch orders: %w", errs.New(errs.StreamFailed, cause, "stream %d", 7))
	require.ErrorIs(t, err, errs.StreamFailed)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, errs.LagTooHigh)
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "BRAID3006", e.Code)
	require.EqualError(t, err, "switch orders: stream 7: connection reset")
	require.ErrorIs(t, fmt.Errorf("read x: %w", errs.NotFound), errs.NotFound, "an entry alone is an error, too")
}

func TestOf(t *testing.T) {
	require.Nil(t, errs.Of(nil))
	inner := errs.New(errs.LagTooHigh, errors.New("lag of 80- is 12s"), "cannot switch").With("Wait.")
	require.Same(t, inner, errs.Of(inner))
	for _, c := range []struct {
		err  error
		want *errs.Def
		text string
	}{
		{fmt.Errorf("orders: %w", inner), errs.LagTooHigh, "orders: cannot switch"},
		{fmt.Errorf("read x: %w", errs.NotFound), errs.NotFound, "read x: not found"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), errs.Timeout, "wait: context deadline exceeded"},
		{context.Canceled, errs.Canceled, "context canceled"},
		{errors.New("boom"), errs.Internal, "boom"},
		{errors.Join(errors.New("a"), errs.New(errs.BadInput, nil, "b")), errs.BadInput, "a\nb"},
	} {
		e := errs.Of(c.err)
		require.Same(t, c.want, e.Def, "%v", c.err)
		require.Equal(t, c.text, e.Text)
	}
	require.Equal(t, []string{"Wait."}, errs.Of(fmt.Errorf("orders: %w", inner)).NextSteps())
}

func TestRetryOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want errs.Retry
	}{
		{nil, errs.RetrySafe},
		{errs.Conflict, errs.RetrySafe},
		{errs.BadInput, errs.RetryNever},
		{errors.New("anything"), errs.RetryUnknown},
		{fmt.Errorf("write x: %w: %w", errs.TopologyUnreachable, errs.OutcomeUnknown), errs.RetryUnknown},
		{errs.New(errs.TopologyUnreachable, errs.OutcomeUnknown, "write x"), errs.RetryUnknown},
		{errs.New(errs.TopologyUnreachable, nil, "read x"), errs.RetrySafe},
	} {
		require.Equal(t, c.want, errs.RetryOf(c.err), "%v", c.err)
	}
}

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, 1: errors.New("boom"), 2: errs.BadInput, 3: fmt.Errorf("x: %w", errs.LagTooHigh), 4: errs.New(errs.DiffFound, nil, "x"),
		5: context.DeadlineExceeded, 130: context.Canceled,
	} {
		require.Equal(t, want, errs.ExitCode(err), "%v", err)
	}
}

// overTheWire encodes a status as gRPC does.
func overTheWire(t *testing.T, err error) error {
	t.Helper()
	raw, merr := proto.Marshal(status.Convert(err).Proto())
	require.NoError(t, merr)
	st := status.New(codes.OK, "").Proto()
	require.NoError(t, proto.Unmarshal(raw, st))
	return status.ErrorProto(st)
}

func TestEveryEntrySurvivesTheWire(t *testing.T) {
	for _, d := range errs.All() {
		sent := fmt.Errorf("outer: %w", errs.New(d, errors.New("cause of it"), "text %d", 1).With("do this", "then that"))
		wire := overTheWire(t, errs.ToGRPC(sent))
		require.Equal(t, d.GRPC, status.Code(wire))
		got := errs.FromGRPC(wire)
		require.ErrorIs(t, got, d)
		require.Equal(t, sent.Error(), got.Error())
		require.Equal(t, []string{"do this", "then that"}, errs.Of(got).NextSteps())
		require.Equal(t, errs.RetryOf(sent), errs.RetryOf(got))
		require.Equal(t, errs.JSON(sent), errs.JSON(got))
	}
}

func TestUnknownOutcomeSurvivesTheWire(t *testing.T) {
	for _, sent := range []error{
		fmt.Errorf("write x: %w: %w", errs.TopologyUnreachable, errs.OutcomeUnknown),
		errs.New(errs.TopologyUnreachable, errs.OutcomeUnknown, "write x"),
	} {
		got := errs.FromGRPC(overTheWire(t, errs.ToGRPC(sent)))
		require.ErrorIs(t, got, errs.TopologyUnreachable)
		require.Equal(t, errs.RetryUnknown, errs.RetryOf(got))
		require.Equal(t, sent.Error(), got.Error())
	}
}

func TestFromGRPCOfOthers(t *testing.T) {
	require.NoError(t, errs.ToGRPC(nil))
	require.NoError(t, errs.FromGRPC(nil))
	plain := errors.New("not of gRPC")
	require.Equal(t, plain, errs.FromGRPC(plain))
	for code, want := range map[codes.Code]error{
		codes.Unavailable: errs.PeerUnreachable, codes.Unimplemented: errs.PeerUnreachable,
		codes.DeadlineExceeded: context.DeadlineExceeded, codes.Canceled: context.Canceled,
	} {
		require.ErrorIs(t, errs.FromGRPC(status.Error(code, "x")), want)
	}
	other := status.Error(codes.DataLoss, "of another program")
	require.Equal(t, other, errs.FromGRPC(other))
}

func TestRender(t *testing.T) {
	err := fmt.Errorf("switch orders: %w", errs.New(errs.LagTooHigh, errors.New("lag of 80- is 12s"), "cannot hold writes that long"))
	var b bytes.Buffer
	errs.Render(&b, err, false)
	require.Equal(t, `error: BRAID4001 switch orders: cannot hold writes that long
cause: lag of 80- is 12s
remedy: Wait until `+"`braid workflow show <name>`"+` shows a lag below the bound, then switch.
`, b.String())
	b.Reset()
	errs.Render(&b, err, true)
	require.JSONEq(t, `{"status":"action_required","code":"BRAID4001_LAG_TOO_HIGH","error":"switch orders: cannot hold writes that long",
		"cause":"lag of 80- is 12s","next_steps":["Wait until `+"`braid workflow show <name>`"+` shows a lag below the bound, then switch."],"retry":"safe"}`, b.String())

	b.Reset()
	errs.Render(&b, errs.New(errs.TopologyUnreachable, errs.OutcomeUnknown, "write x"), false)
	require.Contains(t, b.String(), "note: outcome unknown")
	b.Reset()
	errs.Render(&b, errs.NoMySQL, false)
	require.Contains(t, b.String(), "cause: no mysqld 8.0 or later is on the PATH")
	b.Reset()
	errs.Render(&b, nil, true)
	require.Empty(t, b.String())
}

// The page is what the catalogue says; -update writes it.
func TestPage(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "errors", "README.md")
	want := page()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run: go test ./internal/base/errs -run TestPage -update")
}

func page() string {
	var b strings.Builder
	b.WriteString(`# Errors

Every error that leaves Braid is one of these. Codes never change their meaning. The command line prints code, cause and remedy, ` +
		"with `--output json` as one object;\n" + `a client of the gate sees the MySQL error; gRPC clients find the code in the status details. ` +
		"`braid errors BRAID4001` explains one.\n\n" +
		"\"May be repeated\" tells whether the same call may be made again: an unknown outcome is looked at first, never repeated blindly.\n\n" +
		"This page is generated from `internal/base/errs/catalogue.go`.\n")
	for _, d := range errs.All() {
		fmt.Fprintf(&b, "\n## %s %s\n\n%s\n\n- **Cause**: %s.\n- **Remedy**: %s\n- **May be repeated**: %s\n- MySQL %d (%s), gRPC %s, exit code %d\n",
			d.Code, d.Name, strings.ToUpper(d.Text[:1])+d.Text[1:]+".", d.Cause, d.Remedy, d.Retry, d.MySQLErrno, d.SQLState, d.GRPC, d.Class)
	}
	return b.String()
}
