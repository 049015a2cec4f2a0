package replicate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// grants are what an account may do: privileges in upper case, by the level that they were granted on: "*.*", or the pattern of a database
// as the GRANT has it. Privileges on single tables do not count: the tables are not all there yet.
type grants map[string]map[string]bool

// readGrants reads the account's own grants and those of its active roles.
func readGrants(ctx context.Context, conn *sqlconn.Conn) (account string, g grants, err error) {
	res, err := conn.Query(ctx, "SELECT CURRENT_USER(), CURRENT_ROLE()")
	if err != nil {
		return "", nil, fmt.Errorf("read account: %w", err)
	}
	account = string(res.Rows[0][0])
	sql := "SHOW GRANTS"
	if roles := string(res.Rows[0][1]); roles != "NONE" {
		sql = "SHOW GRANTS FOR CURRENT_USER() USING " + roles
	}
	if res, err = conn.Query(ctx, sql); err != nil {
		return "", nil, fmt.Errorf("read grants: %w", err)
	}
	g = grants{}
	for _, row := range res.Rows {
		g.add(string(row[0]))
	}
	return account, g, nil
}

// add reads a line of SHOW GRANTS: GRANT a, b ON level TO account, or REVOKE … ON level FROM account where privileges are partly revoked.
func (g grants) add(line string) {
	privileges, rest, found := strings.Cut(line, " ON ")
	verb, privileges, _ := strings.Cut(privileges, " ")
	if !found || verb != "GRANT" && verb != "REVOKE" {
		return
	}
	level := rest
	if strings.HasPrefix(rest, "`") {
		db, behind := unquoteIdent(rest)
		if !strings.HasPrefix(behind, ".* ") {
			return // a table, or a routine
		}
		level = db
	} else if strings.HasPrefix(rest, "*.* ") {
		level = "*.*"
	}
	if verb == "REVOKE" {
		level = "-" + level
	}
	if g[level] == nil {
		g[level] = map[string]bool{}
	}
	for p := range strings.SplitSeq(privileges, ",") {
		g[level][strings.ToUpper(strings.TrimSpace(p))] = true
	}
}

// unquoteIdent reads a quoted name, and returns what is behind it.
func unquoteIdent(s string) (name, rest string) {
	for i := 1; i < len(s); i++ {
		if s[i] != '`' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '`' {
			i++
			continue
		}
		return strings.ReplaceAll(s[1:i], "``", "`"), s[i+1:]
	}
	return s, ""
}

// global says that a privilege was granted for everything.
func (g grants) global(privilege string) bool {
	return g["*.*"][privilege] || g["*.*"]["ALL PRIVILEGES"] && !dynamic(privilege)
}

// dynamic privileges are listed by name, even for accounts with ALL PRIVILEGES.
func dynamic(privilege string) bool {
	return strings.Contains(privilege, "_ADMIN") || privilege == "REPLICATION_APPLIER"
}

// any says that one of the privileges was granted for everything.
func (g grants) any(privileges ...string) bool { return slices.ContainsFunc(privileges, g.global) }

// on says that a privilege holds for a database.
func (g grants) on(db, privilege string) bool {
	if g["-"+db][privilege] {
		return false
	}
	if g.global(privilege) {
		return true
	}
	for level, have := range g {
		if level != "*.*" && !strings.HasPrefix(level, "-") && (have[privilege] || have["ALL PRIVILEGES"]) && like(level, db) {
			return true
		}
	}
	return false
}

// like matches MySQL's patterns of databases: % and _, escaped with a backslash.
func like(pattern, s string) bool {
	for len(pattern) > 0 {
		switch c := pattern[0]; {
		case c == '%':
			for i := 0; i <= len(s); i++ {
				if like(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case c == '\\' && len(pattern) > 1:
			pattern = pattern[1:]
			if s == "" || s[0] != pattern[0] {
				return false
			}
		case s == "" || c != '_' && s[0] != c:
			return false
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}
