package binlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/sqlconn"
)

// Status is what was found about a precondition.
type Status string

// The states of a precondition.
const (
	OK      Status = "ok"
	Missing Status = "missing" // no stream starts without it
	Advised Status = "advised" // streams run without it; Why says what is lost
)

// Precondition is something that streams need of a source.
type Precondition struct {
	Name   string `json:"name"` // "gtid_mode"
	Status Status `json:"status"`
	Have   string `json:"have"`
	Want   string `json:"want"`
	Why    string `json:"why,omitempty"`
	Remedy string `json:"remedy,omitempty"` // the statement that mends it, or what to do where no statement can; empty if it is ok
}

// Unmet reports whether no stream starts because of it.
func (p Precondition) Unmet() bool { return p.Status == Missing }

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
	all, err := Survey(ctx, conn)
	var missing []Precondition
	for _, p := range all {
		if p.Unmet() {
			missing = append(missing, p)
		}
	}
	return missing, err
}

// Survey reads every precondition of a source, those that hold included. Of a server that cannot be a source it returns the version alone. The
// connection may be a plain one: servers that are not MySQL refuse the settings of the others.
func Survey(ctx context.Context, conn *sqlconn.Conn) ([]Precondition, error) {
	version := checkVersion(conn.ServerVersion())
	all := []Precondition{version}
	if version.Status != OK {
		return all, nil // nothing else can be asked of it
	}
	vars, err := readVariables(ctx, conn)
	if err != nil {
		return nil, err
	}
	all = append(all, checkVariables(vars)...)
	grants, err := checkGrants(ctx, conn)
	if err != nil {
		return nil, err
	}
	all = append(all, grants...)
	if vars["log_bin"] != "ON" || grants[1].Status != OK {
		return all, nil // the log's filters cannot be read
	}
	filters, err := checkFilters(ctx, conn)
	return append(all, filters...), err
}

func readVariables(ctx context.Context, conn *sqlconn.Conn) (map[string]string, error) {
	names := []string{"server_id", "binlog_expire_logs_seconds", "binlog_expire_logs_auto_purge"}
	for _, s := range settings {
		names = append(names, s.name)
	}
	res, err := conn.Query(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('"+strings.Join(names, "', '")+"')")
	if err != nil {
		return nil, fmt.Errorf("read the source's settings: %w", err)
	}
	vars := map[string]string{}
	for _, row := range res.Rows {
		vars[string(row[0])] = string(row[1])
	}
	return vars, nil
}

func checkVersion(version string) Precondition {
	p := Precondition{Name: "version", Status: OK, Have: version, Want: "MySQL 8.0 or later"}
	if why, remedy := sqlconn.Unsupported(version); why != "" {
		p.Status, p.Why, p.Remedy = Missing, why, remedy
	}
	return p
}

// The steps of gtid_mode can be taken on a running server, one after the other.
const gtidRemedy = "SET PERSIST enforce_gtid_consistency=ON; SET PERSIST gtid_mode=OFF_PERMISSIVE; SET PERSIST gtid_mode=ON_PERMISSIVE; " +
	"wait until SHOW STATUS LIKE 'Ongoing_anonymous_transaction_count' is 0; SET PERSIST gtid_mode=ON;"

// setting is a variable that must have one value. A server that lacks the variable behaves as wanted.
type setting struct {
	name, value string
	status      Status // when it has another value
	remedy, why string
}

var settings = []setting{
	{"log_bin", "ON", Missing, "start the server with --log-bin (and without --skip-log-bin)", "without a binlog there are no changes to read"},
	{"gtid_mode", "ON", Missing, gtidRemedy, "positions are GTID sets"},
	{"enforce_gtid_consistency", "ON", Missing, "SET PERSIST enforce_gtid_consistency=ON;", "gtid_mode=ON needs it"},
	{"binlog_format", "ROW", Missing, "SET PERSIST binlog_format='ROW'; sessions that are open keep their format until they reconnect",
		"a statement may do something else elsewhere"},
	{"binlog_row_image", "FULL", Missing, "SET PERSIST binlog_row_image='FULL'; sessions that are open keep their setting until they reconnect",
		"rows are filtered, moved and compared by any of their columns"},
	{"log_bin_use_v1_row_events", "OFF", Missing, "SET PERSIST log_bin_use_v1_row_events=OFF;", "row events of version 1 are not read"},
	{"log_replica_updates", "ON", Missing, "start the server with --log-replica-updates", "a replica does not log what it applies without it"},
	{"sync_binlog", "1", Advised, "SET PERSIST sync_binlog=1;",
		"a crash of the machine may take transactions that streams have read; the source then gives their GTIDs to others"},
	{"binlog_row_metadata", "FULL", Advised, "SET PERSIST binlog_row_metadata='FULL';",
		"column names and keys in the log: changes from before a DDL, and log files alone, can be read by name"},
}

func checkVariables(vars map[string]string) []Precondition {
	var all []Precondition
	for _, s := range settings {
		have, known := vars[s.name]
		if !known {
			continue
		}
		p := Precondition{Name: s.name, Status: OK, Have: have, Want: orEmpty(s.value), Why: s.why}
		if !strings.EqualFold(have, s.value) {
			p.Status, p.Remedy = s.status, s.remedy
		}
		all = append(all, p)
	}
	return append(all, checkServerID(vars["server_id"]), checkExpiry(vars))
}

func checkServerID(id string) Precondition {
	p := Precondition{Name: "server_id", Status: OK, Have: id, Want: "a number of its own", Why: "with 0 the server refuses to send its binlog"}
	if id == "0" {
		p.Status, p.Remedy = Missing, "SET PERSIST server_id=<number>;"
	}
	return p
}

// minExpiry is how long a source should keep its log: a stream that is stopped on a Friday evening goes on on Monday.
const minExpiry = 3 * 24 * 3600

func checkExpiry(vars map[string]string) Precondition {
	p := Precondition{Name: "binlog_expire_logs_seconds", Status: OK, Have: vars["binlog_expire_logs_seconds"],
		Want: fmt.Sprintf("%d or more, or 0", minExpiry), Why: "a stream that is stopped for longer cannot go on"}
	seconds, err := strconv.ParseInt(p.Have, 10, 64)
	if err == nil && seconds > 0 && seconds < minExpiry && vars["binlog_expire_logs_auto_purge"] != "OFF" {
		p.Status, p.Remedy = Advised, fmt.Sprintf("SET PERSIST binlog_expire_logs_seconds=%d;", minExpiry)
	}
	return p
}

// SelectPrivilege is the Want of the precondition that lists what the account may read. Without it the log can be looked at, and no more.
const SelectPrivilege = "SELECT on the tables"

// checkGrants asks what the account may do.
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
	return checkPrivileges(string(user.Rows[0][0]), lines), nil
}

func checkPrivileges(account string, lines []string) []Precondition {
	have, selects := map[string]bool{}, []string(nil)
	for _, line := range lines {
		privileges, rest, found := strings.Cut(strings.TrimPrefix(line, "GRANT "), " ON ")
		on, _, _ := strings.Cut(rest, " TO ")
		if !found || strings.HasPrefix(line, "REVOKE ") {
			continue
		}
		for p := range strings.SplitSeq(privileges, ",") {
			p = strings.ToUpper(strings.TrimSpace(p))
			if on == "*.*" {
				have[p] = true
			}
			if (p == "SELECT" || strings.HasPrefix(p, "SELECT (") || p == "ALL PRIVILEGES") && !slices.Contains(selects, on) {
				selects = append(selects, on)
			}
		}
	}
	var all []Precondition
	for _, want := range [...]struct {
		name, why string
		status    Status // without it
		static    bool   // ALL PRIVILEGES has it
	}{
		{"REPLICATION SLAVE", "to receive the binlog", Missing, true},
		{"REPLICATION CLIENT", "to ask where it ends", Missing, true},
		{"XA_RECOVER_ADMIN", "a copy that begins while an XA transaction is prepared stops at its XA COMMIT, and must be made again; with it, the copy begins when none is", Advised, false},
	} {
		p := Precondition{Name: "privilege", Status: OK, Have: want.name, Want: want.name, Why: want.why}
		if !have[want.name] && !(want.static && have["ALL PRIVILEGES"]) {
			p.Status, p.Have = want.status, "missing"
			p.Remedy = fmt.Sprintf("GRANT %s ON *.* TO %s;", want.name, quoteAccount(account))
		}
		all = append(all, p)
	}
	return append(all, checkSelect(account, selects))
}

// checkSelect says what the account may read. Which tables a stream is for is not known here: it is seen whether there are any.
func checkSelect(account string, on []string) Precondition {
	p := Precondition{Name: "privilege", Status: OK, Want: SelectPrivilege, Why: "to read their definitions, and their rows when they are copied; of the databases or tables that are followed is enough"}
	on = slices.DeleteFunc(on, func(on string) bool {
		db, _, _ := strings.Cut(strings.ReplaceAll(on, "`", ""), ".")
		return slices.Contains([]string{"mysql", "sys", "performance_schema", "information_schema"}, db)
	})
	switch {
	case len(on) == 0:
		p.Status, p.Have = Missing, "missing"
		p.Remedy = fmt.Sprintf("GRANT SELECT ON *.* TO %s;", quoteAccount(account))
	case slices.Contains(on, "*.*"):
		p.Have = "SELECT on *.*"
	case len(on) > 3:
		p.Have = fmt.Sprintf("SELECT on %s and %d more", strings.Join(on[:3], ", "), len(on)-3)
	default:
		p.Have = "SELECT on " + strings.Join(on, ", ")
	}
	return p
}

// checkFilters looks for --binlog-do-db and --binlog-ignore-db: what they drop never comes to a stream.
func checkFilters(ctx context.Context, conn *sqlconn.Conn) ([]Precondition, error) {
	res, err := logStatus(ctx, conn)
	if err != nil {
		return nil, err
	}
	var all []Precondition
	for i, option := range []string{"binlog-do-db", "binlog-ignore-db"} {
		p := Precondition{Name: option, Status: OK, Want: "no filter", Why: "what it drops never comes to a stream"}
		if len(res) > i+2 && len(res[i+2]) > 0 {
			p.Status, p.Have, p.Remedy = Missing, string(res[i+2]), "start the server without --"+option
		}
		all = append(all, p)
	}
	return all, nil
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
