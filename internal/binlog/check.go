package binlog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/sqlconn"
)

// Precondition is something that a source lacks.
type Precondition struct {
	Name   string // "gtid_mode"
	Have   string
	Want   string
	Remedy string // the statement that mends it, or what to do where no statement can
}

func (p Precondition) String() string {
	return fmt.Sprintf("%s is %s, needs %s: %s", p.Name, orEmpty(p.Have), p.Want, p.Remedy)
}

// Preconditions makes one error of what is missing; nil of nothing.
func Preconditions(addr string, missing []Precondition) error {
	if len(missing) == 0 {
		return nil
	}
	texts, steps := make([]string, len(missing)), make([]string, len(missing))
	for i, p := range missing {
		texts[i], steps[i] = fmt.Sprintf("%s is %s, needs %s", p.Name, orEmpty(p.Have), p.Want), p.Remedy
	}
	return errs.New(errs.SourcePrecondition, nil, "MySQL at %s: %s", addr, strings.Join(texts, "; ")).With(steps...)
}

// Check reads what streams need of a source and returns what is missing.
func Check(ctx context.Context, conn *sqlconn.Conn) ([]Precondition, error) {
	if missing := checkVersion(conn.ServerVersion()); missing != nil {
		return missing, nil // nothing else can be asked of it
	}
	res, err := conn.Query(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'gtid_mode', 'enforce_gtid_consistency', "+
		"'binlog_format', 'binlog_row_image', 'binlog_row_value_options', 'server_id', 'log_replica_updates')")
	if err != nil {
		return nil, fmt.Errorf("read the source's settings: %w", err)
	}
	vars := map[string]string{}
	for _, row := range res.Rows {
		vars[string(row[0])] = string(row[1])
	}
	missing := checkVariables(vars)
	grants, err := checkGrants(ctx, conn)
	if err != nil {
		return nil, err
	}
	missing = append(missing, grants...)
	if vars["log_bin"] == "ON" && len(grants) == 0 {
		filters, err := checkFilters(ctx, conn)
		if err != nil {
			return nil, err
		}
		missing = append(missing, filters...)
	}
	return missing, nil
}

func checkVersion(version string) []Precondition {
	major, _ := strconv.Atoi(version[:max(strings.IndexByte(version, '.'), 0)])
	if strings.Contains(strings.ToLower(version), "mariadb") || major < 8 {
		return []Precondition{{Name: "version", Have: version, Want: "MySQL 8.0 or later", Remedy: "read from a MySQL 8.0 server or later"}}
	}
	return nil
}

// The steps of gtid_mode can be taken on a running server, one after the other.
const gtidRemedy = "SET PERSIST enforce_gtid_consistency=ON; SET PERSIST gtid_mode=OFF_PERMISSIVE; SET PERSIST gtid_mode=ON_PERMISSIVE; " +
	"wait until SHOW STATUS LIKE 'Ongoing_anonymous_transaction_count' is 0; SET PERSIST gtid_mode=ON;"

func checkVariables(vars map[string]string) []Precondition {
	var missing []Precondition
	for _, want := range []struct{ name, value, remedy string }{
		{"log_bin", "ON", "start the server with --log-bin (and without --skip-log-bin)"},
		{"gtid_mode", "ON", gtidRemedy},
		{"enforce_gtid_consistency", "ON", "SET PERSIST enforce_gtid_consistency=ON;"},
		{"binlog_format", "ROW", "SET PERSIST binlog_format='ROW'; sessions that are open keep their format until they reconnect"},
		{"binlog_row_image", "FULL", "SET PERSIST binlog_row_image='FULL'; sessions that are open keep their setting until they reconnect"},
		{"binlog_row_value_options", "", "SET PERSIST binlog_row_value_options=''; sessions that are open keep their setting until they reconnect"},
		{"log_replica_updates", "ON", "start the server with --log-replica-updates"},
	} {
		have, known := vars[want.name]
		if known && !strings.EqualFold(have, want.value) {
			missing = append(missing, Precondition{Name: want.name, Have: have, Want: orEmpty(want.value), Remedy: want.remedy})
		}
	}
	if vars["server_id"] == "0" {
		missing = append(missing, Precondition{Name: "server_id", Have: "0", Want: "a number of its own", Remedy: "SET PERSIST server_id=<number>;"})
	}
	return missing
}

// checkGrants asks what the account may do everywhere. Privileges on the tables themselves show when the tables are read.
func checkGrants(ctx context.Context, conn *sqlconn.Conn) ([]Precondition, error) {
	res, err := conn.Query(ctx, "SHOW GRANTS")
	if err != nil {
		return nil, fmt.Errorf("read grants: %w", err)
	}
	user, err := conn.Query(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	var lines []string
	for _, row := range res.Rows {
		lines = append(lines, string(row[0]))
	}
	return grantsMissing(string(user.Rows[0][0]), lines), nil
}

func grantsMissing(account string, lines []string) []Precondition {
	have := map[string]bool{}
	for _, line := range lines {
		privileges, _, global := strings.Cut(strings.TrimPrefix(line, "GRANT "), " ON *.* TO ")
		if !global {
			continue
		}
		for p := range strings.SplitSeq(privileges, ",") {
			have[strings.ToUpper(strings.TrimSpace(p))] = true
		}
	}
	var missing []Precondition
	for _, want := range []string{"REPLICATION SLAVE", "REPLICATION CLIENT"} {
		if !have[want] && !have["ALL PRIVILEGES"] {
			missing = append(missing, Precondition{Name: "privilege", Have: "missing", Want: want,
				Remedy: fmt.Sprintf("GRANT %s ON *.* TO %s;", want, quoteAccount(account))})
		}
	}
	return missing
}

// checkFilters looks for --binlog-do-db and --binlog-ignore-db: what they drop never comes to a stream.
func checkFilters(ctx context.Context, conn *sqlconn.Conn) ([]Precondition, error) {
	res, err := logStatus(ctx, conn)
	if err != nil {
		return nil, err
	}
	var missing []Precondition
	for i, option := range map[int]string{2: "binlog-do-db", 3: "binlog-ignore-db"} {
		if len(res) > i && len(res[i]) > 0 {
			missing = append(missing, Precondition{Name: option, Have: string(res[i]), Want: "no filter", Remedy: "start the server without --" + option})
		}
	}
	return missing, nil
}

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

func quoteAccount(account string) string {
	user, host, _ := strings.Cut(account, "@")
	return sqlconn.Quote(user) + "@" + sqlconn.Quote(host)
}

func orEmpty(s string) string {
	if s == "" {
		return "''"
	}
	return s
}
