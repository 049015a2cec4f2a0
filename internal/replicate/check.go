package replicate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/sqlconn"
	"braid/internal/vreplication"
)

// Unready makes one error of what is missing on the target; nil of nothing.
func Unready(addr string, all []binlog.Precondition) error {
	var texts, steps []string
	for _, p := range all {
		if p.Unmet() {
			texts, steps = append(texts, fmt.Sprintf("%s is %s, needs %s", p.Name, p.Have, p.Want)), append(steps, p.Remedy)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return errs.New(errs.TargetPrecondition, nil, "MySQL at %s: %s", addr, strings.Join(texts, "; ")).With(steps...)
}

// CheckTarget reads what a target needs, those things that hold included. databases are those that will be written. The connection may be
// a plain one: a server that is not MySQL then comes as far as to be told so.
func CheckTarget(ctx context.Context, conn *sqlconn.Conn, sourceUUID string, databases []string) ([]binlog.Precondition, error) {
	version := checkVersion(conn.ServerVersion())
	if version.Unmet() {
		return []binlog.Precondition{version}, nil // nothing else can be asked of it
	}
	vars, err := readVariables(ctx, conn)
	if err != nil {
		return nil, err
	}
	account, granted, err := readGrants(ctx, conn)
	if err != nil {
		return nil, err
	}
	all := []binlog.Precondition{version, checkIdentity(vars["server_uuid"], sourceUUID)}
	all = append(all, checkWritable(vars, granted)...)
	all = append(all, checkBinlogFormat(vars)...)
	all = append(all, checkPrivileges(account, granted, databases)...)
	return append(all, checkNative(account, granted), checkLocks(account, granted), checkPacket(vars["max_allowed_packet"])), nil
}

func checkVersion(version string) binlog.Precondition {
	p := binlog.Precondition{Name: "version", Status: binlog.OK, Have: version, Want: "MySQL 8.0.19 or later"}
	var v [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(part)
		}
		v[i], _ = strconv.Atoi(part[:digits])
	}
	switch {
	case strings.Contains(strings.ToLower(version), "mariadb"):
		p.Status, p.Why, p.Remedy = binlog.Missing, "rows are written with MySQL's own statements", "write to a MySQL server: MariaDB cannot be a target"
	case slices.Compare(v[:], []int{8, 0, 19}) < 0: // INSERT … AS alias ON DUPLICATE KEY UPDATE
		p.Status, p.Why, p.Remedy = binlog.Missing, "rows are written with statements that older servers do not know", "upgrade the server"
	}
	return p
}

func readVariables(ctx context.Context, conn *sqlconn.Conn) (map[string]string, error) {
	res, err := conn.Query(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'read_only', 'super_read_only', 'max_allowed_packet', 'lower_case_table_names', 'log_bin', 'binlog_format')")
	if err != nil {
		return nil, fmt.Errorf("read the target's settings: %w", err)
	}
	vars := map[string]string{}
	for _, row := range res.Rows {
		vars[string(row[0])] = string(row[1])
	}
	return vars, nil
}

func checkIdentity(uuid, source string) binlog.Precondition {
	p := binlog.Precondition{Name: "server", Status: binlog.OK, Have: uuid, Want: "another server than the source", Why: "a server cannot be a copy of itself"}
	if uuid == source {
		p.Status, p.Remedy = binlog.Missing, "give another server as the target"
	}
	return p
}

func checkWritable(vars map[string]string, g grants) []binlog.Precondition {
	check := func(name, remedy string, exempt bool) binlog.Precondition {
		p := binlog.Precondition{Name: name, Status: binlog.OK, Have: vars[name], Want: "OFF", Why: "the server refuses to be written"}
		if vars[name] == "ON" && !exempt {
			p.Status, p.Remedy = binlog.Missing, remedy
		}
		return p
	}
	return []binlog.Precondition{
		check("super_read_only", "SET PERSIST super_read_only=OFF;", false),
		check("read_only", "SET PERSIST read_only=OFF;", g.global("CONNECTION_ADMIN") || g.global("SUPER")),
	}
}

// checkBinlogFormat: a server whose binlog has statements refuses what sessions with READ COMMITTED write.
func checkBinlogFormat(vars map[string]string) []binlog.Precondition {
	if vars["log_bin"] != "ON" {
		return nil
	}
	p := binlog.Precondition{Name: "binlog_format", Status: binlog.OK, Have: vars["binlog_format"], Want: "ROW", Why: "rows are written in transactions with READ COMMITTED"}
	if vars["binlog_format"] == "STATEMENT" {
		p.Status, p.Remedy = binlog.Missing, "SET PERSIST binlog_format='ROW';"
	}
	return []binlog.Precondition{p}
}

// wanted are the privileges on each written database. DROP, ALTER and INDEX are for DDL of the source, and for indexes that are built after
// the copy.
var wanted = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES"}

func checkPrivileges(account string, g grants, databases []string) []binlog.Precondition {
	var all []binlog.Precondition
	for _, db := range append([]string{vreplication.Sidecar}, databases...) {
		var lack []string
		for _, privilege := range wanted {
			if !g.on(db, privilege) {
				lack = append(lack, privilege)
			}
		}
		p := binlog.Precondition{Name: "privileges on " + db, Status: binlog.OK, Have: "all", Want: strings.Join(wanted, ", "), Why: "to write rows, and to keep the position beside them"}
		if len(lack) > 0 {
			p.Status, p.Have = binlog.Missing, "without "+strings.Join(lack, ", ")
			p.Remedy = fmt.Sprintf("GRANT %s ON %s.* TO %s;", strings.Join(lack, ", "), sqlconn.QuoteIdent(escapeWild(db)), quoteAccount(account))
		}
		all = append(all, p)
	}
	return all
}

// escapeWild: in a GRANT, _ and % of a database's name are wildcards.
func escapeWild(db string) string { return strings.NewReplacer("_", `\_`, "%", `\%`).Replace(db) }

// checkNative is about the writer that sends row events as they are, and sets gtid_next for them.
func checkNative(account string, g grants) binlog.Precondition {
	p := binlog.Precondition{Name: "privileges for row events", Status: binlog.OK, Have: "granted", Want: "BINLOG_ADMIN, SESSION_VARIABLES_ADMIN",
		Why: "row events can be sent as they are (BINLOG); without it rows are written with SQL statements, which costs the target more"}
	var lack []string
	if !g.any("BINLOG_ADMIN", "REPLICATION_APPLIER", "SUPER") {
		lack = append(lack, "BINLOG_ADMIN")
	}
	if !g.any("SESSION_VARIABLES_ADMIN", "SYSTEM_VARIABLES_ADMIN", "REPLICATION_APPLIER", "SUPER") {
		lack = append(lack, "SESSION_VARIABLES_ADMIN")
	}
	return advise(p, account, lack)
}

// checkLocks is about what tells who waits for whom.
func checkLocks(account string, g grants) binlog.Precondition {
	p := binlog.Precondition{Name: "privilege PROCESS", Status: binlog.OK, Have: "granted", Want: "PROCESS",
		Why: "our own transactions that wait for each other's locks are seen at once; without it they are rolled back on suspicion"}
	var lack []string
	if !g.any("PROCESS") {
		lack = append(lack, "PROCESS")
	}
	return advise(p, account, lack)
}

func advise(p binlog.Precondition, account string, lack []string) binlog.Precondition {
	if len(lack) > 0 {
		p.Status, p.Have = binlog.Advised, "without "+strings.Join(lack, ", ")
		p.Remedy = fmt.Sprintf("GRANT %s ON *.* TO %s;", strings.Join(lack, ", "), quoteAccount(account))
	}
	return p
}

// minPacket holds a part of a transaction, which is one packet of about a MiB, and rows that are a little larger.
const minPacket = 4 << 20

func checkPacket(bytes string) binlog.Precondition {
	p := binlog.Precondition{Name: "max_allowed_packet", Status: binlog.OK, Have: bytes, Want: fmt.Sprintf("%d or more", minPacket),
		Why: "a row that is larger cannot be written"}
	if n, err := strconv.ParseInt(bytes, 10, 64); err == nil && n < minPacket {
		p.Status, p.Remedy = binlog.Missing, "SET PERSIST max_allowed_packet=67108864;"
	}
	return p
}

func quoteAccount(account string) string {
	at := strings.LastIndexByte(account, '@')
	if at < 0 {
		return sqlconn.Quote(account)
	}
	return sqlconn.Quote(account[:at]) + "@" + sqlconn.Quote(account[at+1:])
}
