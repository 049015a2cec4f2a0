package mysqld

import (
	"fmt"
	"strings"

	"braid/internal/sqlconn"
)

// The accounts of every server. Their statements are in no binlog, so each server has its own.
const (
	RootUser  = "root"        // through the socket only: to set the server up and to look at it
	AdminUser = "braid_admin" // the tablet: streams, DDL, replication control
	AppUser   = "braid_app"   // the tablet, for sessions of applications
	ReplUser  = "braid_repl"  // reads the binlog: streams and native replicas; reads chunks
)

// Passwords are the accounts' passwords.
type Passwords struct {
	Root  string `json:"root"`
	Admin string `json:"admin"`
	App   string `json:"app"`
	Repl  string `json:"repl"`
}

// grant is one privilege (or a few that are one thing) and why the account needs it.
type grant struct {
	user       string
	privileges string
	on         string
	since      Version
	reason     string
}

// Where grants apply besides *.*.
const (
	keyspaceDB = "%s"           // the keyspace's database, or everything if the server has none in particular
	sidecarDB  = "`\\_braid`.*" // what streams note about themselves
	// The one sidecar table that sessions of applications write: gates note there the GTIDs of a commit that spans shards.
	sidecarDependency = "`_braid`.`dependency`"
)

// streamed is what a stream does to tables: rows, and the DDL that it carries along.
const streamed = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, LOCK TABLES, CREATE TEMPORARY TABLES, " +
	"CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, TRIGGER, EVENT"

// grants lists every privilege of every account.
var grants = []grant{
	{AdminUser, streamed, keyspaceDB, Version{}, "writes streams into the keyspace; copies schemas"},
	{AdminUser, streamed, sidecarDB, Version{}, "keeps the sidecar's tables, and the streams' progress in them"},
	{AdminUser, "RELOAD", "*.*", Version{}, "FLUSH before schema snapshots; resets replication state"},
	{AdminUser, "PROCESS", "*.*", Version{}, "sees who blocks a fence or a DDL"},
	{AdminUser, "REPLICATION SLAVE, REPLICATION CLIENT", "*.*", Version{}, "positions, and the binlog of its own server"},
	{AdminUser, "REPLICATION_SLAVE_ADMIN", "*.*", Version{}, "points replicas at their primary"},
	{AdminUser, "REPLICATION_APPLIER, BINLOG_ADMIN", "*.*", Version{}, "row events in BINLOG statements; purging what nobody needs"},
	{AdminUser, "SYSTEM_VARIABLES_ADMIN, SESSION_VARIABLES_ADMIN", "*.*", Version{}, "read_only, sql_log_bin, session settings of writers"},
	{AdminUser, "CONNECTION_ADMIN", "*.*", Version{}, "kills transactions that outlast a fence; writes on a server that is read-only"},
	{AdminUser, "BACKUP_ADMIN", "*.*", Version{}, "holds DDL back while a schema is copied"},
	{AppUser, "ALL PRIVILEGES", keyspaceDB, Version{}, "what an application may do in its own database"},
	{AppUser, "CREATE, SELECT, INSERT, DELETE", sidecarDependency, Version{},
		"the GTIDs of a commit that spans shards (CREATE lets the grant come before the table)"},
	{ReplUser, "REPLICATION SLAVE", "*.*", Version{}, "the binlog dump"},
	{ReplUser, "REPLICATION CLIENT", "*.*", Version{}, "the binlog's end, which closes a window"},
	{ReplUser, "XA_RECOVER_ADMIN", "*.*", Version{}, "a stream begins when no XA transaction is prepared"},
	{ReplUser, "SELECT, SHOW VIEW, TRIGGER", keyspaceDB, Version{}, "chunks and table definitions"},
	{ReplUser, "SELECT", sidecarDB, Version{}, "table definitions of the sidecar, whose changes are in the binlog too"},
}

// hosts are where accounts may come from. Servers listen on the loopback and resolve no names.
var hosts = []string{"127.0.0.1", "localhost"}

// accountStatements creates the accounts, one statement per line as an init file wants it. They can be run again after a
// first start that was interrupted.
func accountStatements(v Version, db string, p Passwords) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+";\n", args...) }
	line("SET SESSION sql_log_bin=0")
	line("ALTER USER %s@'localhost' IDENTIFIED WITH caching_sha2_password BY %s", sqlconn.Quote(RootUser), sqlconn.Quote(p.Root))
	for _, account := range []struct{ user, password string }{{AdminUser, p.Admin}, {AppUser, p.App}, {ReplUser, p.Repl}} {
		for _, host := range hosts {
			name := sqlconn.Quote(account.user) + "@" + sqlconn.Quote(host)
			line("CREATE USER IF NOT EXISTS %s IDENTIFIED WITH caching_sha2_password BY %s", name, sqlconn.Quote(account.password))
			line("ALTER USER %s IDENTIFIED WITH caching_sha2_password BY %s", name, sqlconn.Quote(account.password))
			for _, g := range grants {
				if g.user == account.user && v.AtLeast(g.since.Major, g.since.Minor, g.since.Patch) {
					line("GRANT %s ON %s TO %s", g.privileges, grantTarget(g.on, db), name)
				}
			}
		}
	}
	line("%s", resetStatement(v))
	return b.String()
}

// resetStatement empties the binlog and the set of executed GTIDs.
func resetStatement(v Version) string {
	if v.AtLeast(8, 2, 0) {
		return "RESET BINARY LOGS AND GTIDS"
	}
	return "RESET MASTER"
}

// grantTarget names the database in a grant, where _ and % are wildcards unless escaped.
func grantTarget(on, db string) string {
	switch {
	case on != keyspaceDB:
		return on
	case db == "":
		return "*.*"
	default:
		return sqlconn.QuoteIdent(strings.NewReplacer("_", `\_`, "%", `\%`, `\`, `\\`).Replace(db)) + ".*"
	}
}
