package errs

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
)

// Numbers: 10xx input and names, 11xx topology, 12xx this machine, 20xx MySQL, 30xx tables, VSchema and streams, 40xx workflows,
// 50xx queries, 90xx the program itself.

// MySQL error numbers that clients know.
const (
	erUnknown      = 1105 // ER_UNKNOWN_ERROR
	erBadDB        = 1049 // ER_BAD_DB_ERROR
	erNoSuchTable  = 1146 // ER_NO_SUCH_TABLE
	erNotSupported = 1235 // ER_NOT_SUPPORTED_YET
	erParse        = 1064 // ER_PARSE_ERROR
	erInterrupted  = 1317 // ER_QUERY_INTERRUPTED
	erNetTimeout   = 1205 // ER_LOCK_WAIT_TIMEOUT: drivers take it as "may be repeated"
)

var catalogue []*Def

func define(d Def) *Def {
	if d.MySQLErrno == 0 {
		d.MySQLErrno = erUnknown
	}
	if d.SQLState == "" {
		d.SQLState = "HY000"
	}
	if d.Class == 0 {
		d.Class = Failed
	}
	catalogue = append(catalogue, &d)
	return &d
}

// All returns all entries in order of their codes.
func All() []*Def {
	all := slices.Clone(catalogue)
	slices.SortFunc(all, func(a, b *Def) int { return strings.Compare(a.Code, b.Code) })
	return all
}

// Input and names.
var (
	BadInput = define(Def{
		Code: "BRAID1001", Name: "BAD_INPUT", Text: "bad input", GRPC: codes.InvalidArgument, Class: Usage,
		Cause:  "a name, flag or document is not of the form that is asked for",
		Remedy: "Correct the value that the message names; `braid <command> --help` shows the form.",
	})
	NotFound = define(Def{
		Code: "BRAID1002", Name: "NOT_FOUND", Text: "not found", GRPC: codes.NotFound,
		Cause:  "the name is misspelt, or the thing was removed or not made yet",
		Remedy: "List what exists: `braid keyspace list`, `braid tablet list`, `braid workflow list`.",
	})
	Exists = define(Def{
		Code: "BRAID1003", Name: "EXISTS", Text: "exists already", GRPC: codes.AlreadyExists,
		Cause:  "something of that name was made before, perhaps by an earlier run of the same command",
		Remedy: "Use what exists, choose another name, or remove it first.",
	})
	Conflict = define(Def{
		Code: "BRAID1004", Name: "CONFLICT", Text: "changed by somebody else", GRPC: codes.Aborted, Retry: RetrySafe,
		Cause:  "two changes of the same thing at the same time; this one was not made",
		Remedy: "Run the command again: it reads the present state first.",
	})
	KeyspaceUnknown = define(Def{
		Code: "BRAID1005", Name: "KEYSPACE_UNKNOWN", Text: "unknown keyspace", GRPC: codes.NotFound, MySQLErrno: erBadDB, SQLState: "42000",
		Cause:  "no keyspace of that name was created in this cluster",
		Remedy: "`braid keyspace list` shows the keyspaces.",
	})
	ShardUnknown = define(Def{
		Code: "BRAID1006", Name: "SHARD_UNKNOWN", Text: "unknown shard", GRPC: codes.NotFound, MySQLErrno: erBadDB, SQLState: "42000",
		Cause:  "the keyspace has no shard of that name; names are key ranges as in -80, 80-, 40-80",
		Remedy: "`braid shard list <keyspace>` shows the shards.",
	})
	ShardsDoNotPartition = define(Def{
		Code: "BRAID1007", Name: "SHARDS_DO_NOT_PARTITION", Text: "shards do not partition the key space", GRPC: codes.InvalidArgument, Class: Usage,
		Cause:  "the key ranges leave a gap, overlap, or cover another range than the shards that they replace",
		Remedy: "Name shards that together cover each keyspace ID once, such as -80,80- or -40,40-80,80-c0,c0-.",
	})
)

// Topology.
var (
	LockHeld = define(Def{
		Code: "BRAID1101", Name: "LOCK_HELD", Text: "lock is held", GRPC: codes.Aborted, Retry: RetrySafe,
		Cause:  "another operation works on the same keyspace; the message names it",
		Remedy: "Wait until it has ended (`braid workflow list`), then repeat. The lock of a dead process ends by itself within seconds.",
	})
	LockLost = define(Def{
		Code: "BRAID1102", Name: "LOCK_LOST", Text: "lock was lost", GRPC: codes.Aborted, Retry: RetryUnknown,
		Cause:  "the process could not reach the topology for longer than the lock lives, or was suspended",
		Remedy: "`braid workflow show <name>` tells how far the operation came; it is continued by the controller that leads.",
	})
	TopologyUnreachable = define(Def{
		Code: "BRAID1103", Name: "TOPOLOGY_UNREACHABLE", Text: "topology unreachable", GRPC: codes.Unavailable, Retry: RetrySafe,
		Cause:  "etcd is down, has no leader, or the network to it is cut; streams and queries go on with what is known",
		Remedy: "Check that etcd runs and that the endpoints are right (`braid status` shows the processes of a cluster on this machine). Nothing needs a restart: all parts continue by themselves when etcd answers again.",
	})
	TopologyFull = define(Def{
		Code: "BRAID1104", Name: "TOPOLOGY_FULL", Text: "topology is out of space", GRPC: codes.ResourceExhausted,
		Cause:  "etcd has reached its quota, or its disk is full, and takes no writes",
		Remedy: "Free space, compact and defragment etcd, then clear the alarm: `etcdctl alarm disarm`.",
	})
)

// This machine.
var (
	PortTaken = define(Def{
		Code: "BRAID1201", Name: "PORT_TAKEN", Text: "port is taken", GRPC: codes.AlreadyExists,
		Cause:  "another process listens on that port, often an earlier run of the same command",
		Remedy: "End that process (`ss -ltnp` shows it), or choose another port.",
	})
	NoSpace = define(Def{
		Code: "BRAID1202", Name: "NO_SPACE", Text: "no space left", GRPC: codes.ResourceExhausted,
		Cause:  "the disk that the message names is full, or nearly so",
		Remedy: "Free space or choose another directory, then repeat.",
	})
	DirInUse = define(Def{
		Code: "BRAID1203", Name: "DIRECTORY_IN_USE", Text: "directory is in use", GRPC: codes.AlreadyExists,
		Cause:  "another process works in the same data directory",
		Remedy: "End that process, or choose another directory.",
	})
)

// MySQL.
var (
	NoMySQL = define(Def{
		Code: "BRAID2001", Name: "NO_MYSQL", Text: "no MySQL server program is available", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "no mysqld 8.0 or later is on the PATH, in BRAID_MYSQLD, or installed by braid",
		Remedy: "`braid mysql install` fetches one into a private directory. Or set BRAID_MYSQLD to the path of a mysqld.",
	})
	MySQLNotStarted = define(Def{
		Code: "BRAID2002", Name: "MYSQLD_NOT_STARTED", Text: "mysqld did not start", GRPC: codes.Unavailable,
		Cause:  "mysqld ended or did not answer in time; its last log lines are in the message",
		Remedy: "Read its error log, whose path the message names. Usual reasons: memory, disk space, a port or directory in use.",
	})
	MySQLDied = define(Def{
		Code: "BRAID2003", Name: "MYSQLD_DIED", Text: "mysqld died", GRPC: codes.Unavailable, Retry: RetryUnknown,
		Cause:  "the mysqld behind a tablet ended while it was needed (crash, kill, out of memory)",
		Remedy: "Where braid supervises it, it is started again and streams continue. Otherwise start it, and read its error log.",
	})
	MySQLUnreachable = define(Def{
		Code: "BRAID2004", Name: "MYSQL_UNREACHABLE", Text: "MySQL server unreachable", GRPC: codes.Unavailable, Retry: RetrySafe,
		Cause:  "wrong address or account, the server is down, or the network is cut",
		Remedy: "Connect with the mysql client to the address in the message, with the same account.",
	})
	SourcePrecondition = define(Def{
		Code: "BRAID2005", Name: "SOURCE_PRECONDITION", Text: "the source is not set up for streams", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "streams need GTID mode, binlog_format=ROW, binlog_row_image=FULL, and the privileges that the message names",
		Remedy: "Run the statements that the message gives, on the source, then repeat.",
	})
	ServerUnsupported = define(Def{
		Code: "BRAID2007", Name: "SERVER_UNSUPPORTED", Text: "the server is of a kind that cannot be used", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "it is MariaDB, or older than MySQL 8.0",
		Remedy: "Use MySQL 8.0 or later (Percona Server and the cloud vendors' MySQL are as good).",
	})
	Canceled = define(Def{
		Code: "BRAID2006", Name: "CANCELED", Text: "canceled", GRPC: codes.Canceled, MySQLErrno: erInterrupted, SQLState: "70100", Retry: RetryUnknown,
		Cause:  "the caller went away or interrupted it",
		Remedy: "Repeat it when it is wanted.",
	})
	TargetPrecondition = define(Def{
		Code: "BRAID2008", Name: "TARGET_PRECONDITION", Text: "the target is not set up to be written", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "the server is read-only, of another kind, the source itself, or the account lacks privileges; the message names it",
		Remedy: "Run the statements that the message gives, on the target, then repeat. `braid check target` shows all that is needed.",
	})
)

// Tables, VSchema and streams.
var (
	NoPrimaryKey = define(Def{
		Code: "BRAID3001", Name: "NO_PRIMARY_KEY", Text: "table has no primary key", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "rows are copied and applied by their primary key; this table has none",
		Remedy: "Add a primary key (an invisible one will do: sql_generate_invisible_primary_key), or leave the table out.",
	})
	UnknownVindex = define(Def{
		Code: "BRAID3002", Name: "UNKNOWN_VINDEX", Text: "unknown vindex", GRPC: codes.InvalidArgument, Class: Usage,
		Cause:  "the VSchema names a vindex that it does not define, or a type that does not exist",
		Remedy: "Define it under \"vindexes\"; types: hash, xxhash, binary, binary_md5, unicode_loose_md5, unicode_loose_xxhash, numeric, reverse_bits, null.",
	})
	BadVSchema = define(Def{
		Code: "BRAID3003", Name: "BAD_VSCHEMA", Text: "VSchema is not valid", GRPC: codes.InvalidArgument, Class: Usage,
		Cause:  "the VSchema is not JSON of Vitess's form, or a table lacks what a sharded keyspace needs",
		Remedy: "Correct what the message names and apply it again with `braid vschema apply`.",
	})
	TableDiffers = define(Def{
		Code: "BRAID3004", Name: "TARGET_TABLE_DIFFERS", Text: "target table differs", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "a table of that name is on the target, with other columns or with rows of its own",
		Remedy: "Drop or rename it on the target, or bring both definitions in line.",
	})
	TableUnknown = define(Def{
		Code: "BRAID3005", Name: "TABLE_UNKNOWN", Text: "unknown table", GRPC: codes.NotFound, MySQLErrno: erNoSuchTable, SQLState: "42S02",
		Cause:  "no such table is in the keyspace or in its VSchema, or on the source of a copy that names it",
		Remedy: "Correct the name. `SHOW VSCHEMA TABLES` lists what the gate knows; a new table of a sharded keyspace needs an entry in the VSchema.",
	})
	StreamFailed = define(Def{
		Code: "BRAID3006", Name: "STREAM_FAILED", Text: "stream failed", GRPC: codes.FailedPrecondition,
		Cause:  "a transaction could not be applied, or the source's binlog is gone; the message names transaction, table and key",
		Remedy: "Mend what the message names, then `braid workflow start <name>`; the stream continues where it stopped.",
	})
	BinlogPurged = define(Def{
		Code: "BRAID3007", Name: "BINLOG_PURGED", Text: "the source has purged binlogs that the stream needs", GRPC: codes.OutOfRange,
		Cause:  "the stream stood longer than the source keeps binlogs",
		Remedy: "Cancel the workflow and create it again; raise binlog_expire_logs_seconds on the source.",
	})
	DiffFound = define(Def{
		Code: "BRAID3008", Name: "DIFFERENCES", Text: "source and target differ", GRPC: codes.FailedPrecondition, Class: Differences,
		Cause:  "rows were written on the target by others, or earlier than the workflow, or there is a bug",
		Remedy: "`braid diff <workflow> --last` lists the rows. Do not switch before they are explained.",
	})
	BinlogDamaged = define(Def{
		Code: "BRAID3009", Name: "BINLOG_DAMAGED", Text: "binlog file is damaged", GRPC: codes.DataLoss,
		Cause:  "the file was cut off, copied while it was written, or changed on its disk",
		Remedy: "Copy the file again, or read the log from the server (--dsn). `mysqlbinlog --verify-binlog-checksum` tells whether the server's own file is good.",
	})
	TargetNotEmpty = define(Def{
		Code: "BRAID3010", Name: "TARGET_NOT_EMPTY", Text: "the target has rows of others", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "a table has rows before the copy begins, or another stream writes to it; the copy would overwrite some and leave others",
		Remedy: "Empty the table, or choose another one with --rename. If the rows may stay: --allow-nonempty.",
	})
	DDLStopped = define(Def{
		Code: "BRAID3011", Name: "DDL_STOPPED", Text: "the stream stands in front of a DDL statement", GRPC: codes.FailedPrecondition,
		Cause:  "the stream's policy for DDL is stop, or the statement cannot be run on the target as it is, or its run failed there",
		Remedy: "Do on the target what the statement does, then let the stream go on behind it: `braid replicate … --skip <its GTID>`.",
	})
	OtherRules = define(Def{
		Code: "BRAID3012", Name: "OTHER_RULES", Text: "the stream was made with other rules", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "a stream of this name is on the target, and selects or renames other tables, or has other conditions",
		Remedy: "Repeat the earlier options, or begin another stream with --name. `braid stream show` prints what it was made with.",
	})
	StreamInUse = define(Def{
		Code: "BRAID3013", Name: "STREAM_IN_USE", Text: "another process runs the stream", GRPC: codes.Aborted, Class: ActionRequired, Retry: RetrySafe,
		Cause:  "`braid replicate` runs already, with the same target and the same name",
		Remedy: "End that process, or give this one another --name.",
	})
)

// Workflows.
var (
	LagTooHigh = define(Def{
		Code: "BRAID4001", Name: "LAG_TOO_HIGH", Text: "lag is too high to switch", GRPC: codes.FailedPrecondition, Class: ActionRequired, Retry: RetrySafe,
		Cause:  "writes would be held for at least as long as the streams are behind",
		Remedy: "Wait until `braid workflow show <name>` shows a lag below the bound, then switch.",
	})
	ReadsNotSwitched = define(Def{
		Code: "BRAID4002", Name: "READS_NOT_SWITCHED", Text: "reads are not switched yet", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "writes are switched last, so that the targets have proved themselves with reads",
		Remedy: "Switch rdonly and replica first, or all at once: `braid workflow switch <name>`.",
	})
	WorkflowBusy = define(Def{
		Code: "BRAID4003", Name: "WORKFLOW_BUSY", Text: "workflow is busy", GRPC: codes.Aborted, Retry: RetrySafe,
		Cause:  "an earlier verb of the same workflow, or another workflow on the same tables, is at work",
		Remedy: "`braid workflow watch <name>` follows it; repeat when it has ended.",
	})
	WorkflowState = define(Def{
		Code: "BRAID4004", Name: "WORKFLOW_STATE", Text: "the workflow's state does not allow this", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "for example: complete before writes are switched, or cancel after",
		Remedy: "`braid workflow show <name>` tells the state and the verbs that it allows.",
	})
	Timeout = define(Def{
		Code: "BRAID4005", Name: "TIMEOUT", Text: "timed out waiting", GRPC: codes.DeadlineExceeded, MySQLErrno: erNetTimeout, Retry: RetryUnknown, Class: TimedOut,
		Cause:  "what was waited for did not happen in time; the work itself goes on",
		Remedy: "`braid workflow watch <name>` continues to wait.",
	})
	SwitchUndone = define(Def{
		Code: "BRAID4006", Name: "SWITCH_UNDONE", Text: "the switch was undone", GRPC: codes.Aborted, Retry: RetrySafe,
		Cause:  "a step before the point of no return failed; writes go where they went before, nothing was lost",
		Remedy: "Mend what the message names, then switch again.",
	})
	StreamsNotRunning = define(Def{
		Code: "BRAID4007", Name: "STREAMS_NOT_RUNNING", Text: "not all streams are running", GRPC: codes.FailedPrecondition, Class: ActionRequired, Retry: RetrySafe,
		Cause:  "a stream still copies, is stopped, or is in error",
		Remedy: "`braid workflow show <name>` names it; wait for the copy, or `braid workflow start <name>`.",
	})
	ConfirmationNeeded = define(Def{
		Code: "BRAID4008", Name: "CONFIRMATION_NEEDED", Text: "confirmation needed", GRPC: codes.FailedPrecondition, Class: ActionRequired,
		Cause:  "the command removes data or a way back, and nobody can be asked here",
		Remedy: "Repeat with --yes, or with --dry-run to see what it would do.",
	})
	NotLeader = define(Def{
		Code: "BRAID4009", Name: "NOT_LEADER", Text: "this controller does not lead", GRPC: codes.Unavailable, Retry: RetrySafe,
		Cause:  "another controller leads, or none does for the seconds of an election",
		Remedy: "Repeat; the command finds the leader through the topology.",
	})
)

// Queries.
var (
	EpochOutdated = define(Def{
		Code: "BRAID5001", Name: "EPOCH_OUTDATED", Text: "routing epoch outdated", GRPC: codes.Aborted, SQLState: "BR001", Retry: RetrySafe,
		Cause:  "the query was routed by a routing that was replaced meanwhile; gates read it again and send the query on",
		Remedy: "Nothing, behind a gate. A client that sees it has reached a tablet directly: use the gate.",
	})
	Fenced = define(Def{
		Code: "BRAID5002", Name: "FENCED", Text: "writes are held by a cutover", GRPC: codes.Unavailable, SQLState: "BR002", Retry: RetrySafe,
		Cause:  "a workflow is switching the primary; gates hold writes until it is done",
		Remedy: "Repeat. If it lasts, `braid workflow show <name>` tells at which step the switch stands.",
	})
	NotServing = define(Def{
		Code: "BRAID5003", Name: "NOT_SERVING", Text: "not serving", GRPC: codes.Unavailable, SQLState: "BR003", Retry: RetrySafe,
		Cause:  "the tablet is starting, its mysqld is down, or its shard no longer serves",
		Remedy: "`braid tablet list` shows who serves and why one does not.",
	})
	Unsupported = define(Def{
		Code: "BRAID5004", Name: "UNSUPPORTED_QUERY", Text: "unsupported query", GRPC: codes.Unimplemented, MySQLErrno: erNotSupported, SQLState: "42000",
		Cause:  "the query needs work across shards that the gate does not do",
		Remedy: "Restrict it to one shard by its vindex column, split it, or send it to each shard with USE `keyspace/shard`.",
	})
	PartialCommit = define(Def{
		Code: "BRAID5005", Name: "PARTIAL_COMMIT", Text: "commit is done on some shards only", GRPC: codes.DataLoss, Retry: RetryUnknown,
		Cause:  "a transaction over several shards commits shard by shard; a later commit failed after an earlier one was done",
		Remedy: "The message names the shards that committed and those that did not: look, then write what is missing or take the rest back.",
	})
	SyntaxError = define(Def{
		Code: "BRAID5006", Name: "SYNTAX_ERROR", Text: "syntax error", GRPC: codes.InvalidArgument, MySQLErrno: erParse, SQLState: "42000",
		Cause:  "the statement does not parse",
		Remedy: "Correct the statement at the place that the message names.",
	})
	NoPrimary = define(Def{
		Code: "BRAID5007", Name: "NO_TABLET", Text: "no tablet serves this", GRPC: codes.Unavailable, Retry: RetrySafe,
		Cause:  "the shard has no living tablet of the wanted type",
		Remedy: "`braid tablet list` shows what runs; start the tablet that is missing.",
	})
)

// The program itself.
var (
	Internal = define(Def{
		Code: "BRAID9001", Name: "INTERNAL", Text: "internal error", GRPC: codes.Unknown, Retry: RetryUnknown,
		Cause:  "an error that the catalogue does not name",
		Remedy: "The message says what happened. If it does not help, report it with the message and the logs around it.",
	})
	OutcomeUnknown = define(Def{
		Code: "BRAID9002", Name: "OUTCOME_UNKNOWN", Text: "outcome unknown", GRPC: codes.Unknown, Retry: RetryUnknown,
		Cause:  "the connection ended after a write was sent and before it was answered",
		Remedy: "Look whether it was done before it is repeated.",
	})
	PeerUnreachable = define(Def{
		Code: "BRAID9003", Name: "PEER_UNREACHABLE", Text: "a part of braid is unreachable", GRPC: codes.Unavailable, Retry: RetryUnknown,
		Cause:  "the daemon at the address is down, or the network to it is cut",
		Remedy: "`braid status` shows what runs. Calls are repeated where that is safe.",
	})
)
