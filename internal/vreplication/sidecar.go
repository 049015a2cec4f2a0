package vreplication

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"braid/internal/sqlconn"
)

// Sidecar is the name of the database that holds our rows beside the data.
const Sidecar = "_braid"

type sidecarColumn struct{ name, kind, rest string }

type sidecarTable struct {
	name    string
	columns []sidecarColumn
	keys    []string
}

// sidecar is the wanted schema. All times are Unix microseconds. A column is added by writing it here; one that is no
// longer here is left alone, because an older tablet may still run.
var sidecar = []sidecarTable{
	{"vreplication", []sidecarColumn{
		{"id", "bigint unsigned", "NOT NULL AUTO_INCREMENT"},
		{"workflow", "varchar(255)", "NOT NULL"},
		{"source_name", "varchar(255)", "NOT NULL COMMENT 'keyspace/shard'"},
		{"source", "mediumtext", "NOT NULL COMMENT 'JSON'"},
		{"pos", "mediumtext", "NOT NULL COMMENT 'GTID set; empty until the copy has begun'"},
		{"stop_pos", "mediumtext", "NULL"},
		{"max_tps", "bigint", "NOT NULL DEFAULT 0 COMMENT '0: no bound'"},
		{"max_replication_lag", "bigint", "NOT NULL DEFAULT 0 COMMENT 'seconds after which a stream counts as lagging; 0: the default'"},
		{"cell", "varchar(255)", "NOT NULL DEFAULT ''"},
		{"tablet_types", "varchar(255)", "NOT NULL DEFAULT ''"},
		{"time_updated", "bigint", "NOT NULL DEFAULT 0"},
		{"transaction_timestamp", "bigint", "NOT NULL DEFAULT 0 COMMENT 'when the source committed the last transaction'"},
		{"state", "varchar(32)", "NOT NULL"},
		{"message", "text", "NULL"},
		{"db_name", "varchar(255)", "NOT NULL"},
		{"rows_copied", "bigint", "NOT NULL DEFAULT 0"},
		{"transactions", "bigint", "NOT NULL DEFAULT 0 COMMENT 'source transactions applied'"},
	}, []string{"PRIMARY KEY (id)", "UNIQUE KEY workflow_source (db_name, workflow, source_name)"}},
	{"lanes", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"lane", "int", "NOT NULL COMMENT 'worker'"},
		{"gtids", "mediumtext", "NOT NULL COMMENT 'GTID set, applied beside pos of the stream'"},
		{"transactions", "bigint", "NOT NULL DEFAULT 0 COMMENT 'source transactions applied'"},
		{"transaction_timestamp", "bigint", "NOT NULL DEFAULT 0"},
	}, []string{"PRIMARY KEY (vrepl_id, lane)"}},
	{"copy_state", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"table_name", "varchar(255)", "NOT NULL COMMENT 'source table'"},
		{"lastpk", "mediumblob", "NULL"},
		{"rows_copied", "bigint", "NOT NULL DEFAULT 0"},
		{"rows_total", "bigint", "NOT NULL DEFAULT 0 COMMENT 'estimate'"},
		{"bytes_copied", "bigint", "NOT NULL DEFAULT 0 COMMENT 'of cells'"},
		{"whole", "tinyint", "NOT NULL DEFAULT 0 COMMENT '1: no key; copied under one snapshot, again from nothing if that was cut off'"},
		{"done", "tinyint", "NOT NULL DEFAULT 0 COMMENT '1: all windows have closed; 2: and everything before the last is applied'"},
		{"key_order", "varchar(32)", "NOT NULL DEFAULT '' COMMENT 'what the keys are, here and in copy_range'"},
		{"end_pos", "mediumtext", "NULL COMMENT 'GTID set: what had passed on the stream before the last chunk'"},
	}, []string{"PRIMARY KEY (vrepl_id, table_name)"}},
	{"copy_range", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"table_name", "varchar(255)", "NOT NULL COMMENT 'source table'"},
		{"no", "int", "NOT NULL COMMENT 'from 1, in key order'"},
		{"upto", "mediumblob", "NULL COMMENT 'last key of the range; NULL: the end of the table'"},
		{"lastpk", "mediumblob", "NULL COMMENT 'last key that was looked at; at first, that of the range before'"},
		{"rows_copied", "bigint", "NOT NULL DEFAULT 0"},
		{"bytes_copied", "bigint", "NOT NULL DEFAULT 0"},
		{"done", "tinyint", "NOT NULL DEFAULT 0"},
		{"end_pos", "mediumtext", "NULL COMMENT 'as in copy_state'"},
	}, []string{"PRIMARY KEY (vrepl_id, table_name, no)"}},
	{"deferred", []sidecarColumn{
		{"db_name", "varchar(64)", "NOT NULL"},
		{"table_name", "varchar(64)", "NOT NULL COMMENT 'target table'"},
		{"definitions", "mediumtext", "NOT NULL COMMENT 'JSON: indexes and foreign keys that the table gets when it is filled'"},
		{"created_at", "bigint", "NOT NULL"},
	}, []string{"PRIMARY KEY (db_name, table_name)"}},
	{"contested", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"table_name", "varchar(255)", "NOT NULL COMMENT 'source table'"},
		{"key_hash", "binary(16)", "NOT NULL COMMENT 'MD5 of row_key'"},
		{"row_key", "blob", "NOT NULL"},
		{"image", "longblob", "NOT NULL COMMENT 'the row of this source, which waits for its place'"},
	}, []string{"PRIMARY KEY (vrepl_id, table_name, key_hash)"}},
	{"writers", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"table_name", "varchar(255)", "NOT NULL COMMENT 'source table'"},
		{"writer", "varchar(32)", "NOT NULL COMMENT 'how its changes are written'"},
		{"reason", "text", "NOT NULL COMMENT 'why not native'"},
	}, []string{"PRIMARY KEY (vrepl_id, table_name)"}},
	{"workers", []sidecarColumn{
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"written_at", "bigint", "NOT NULL COMMENT 'by the clock of this server'"},
		{"workers", "mediumtext", "NOT NULL COMMENT 'JSON: what each does, for who looks'"},
	}, []string{"PRIMARY KEY (vrepl_id)"}},
	{"vreplication_log", []sidecarColumn{
		{"id", "bigint unsigned", "NOT NULL AUTO_INCREMENT"},
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"type", "varchar(64)", "NOT NULL"},
		{"state", "varchar(32)", "NOT NULL"},
		{"created_at", "bigint", "NOT NULL"},
		{"message", "text", "NULL"},
	}, []string{"PRIMARY KEY (id)", "KEY vrepl_id (vrepl_id, id)"}},
	{"journal", []sidecarColumn{
		{"workflow", "varchar(255)", "NOT NULL"},
		{"epoch", "bigint unsigned", "NOT NULL"},
		{"val", "mediumtext", "NOT NULL COMMENT 'JSON'"},
	}, []string{"PRIMARY KEY (workflow, epoch)"}},
	{"leader", []sidecarColumn{
		{"id", "tinyint", "NOT NULL"},
		{"term", "bigint", "NOT NULL COMMENT 'highest term of a controller that has written here'"},
	}, []string{"PRIMARY KEY (id)"}},
	{"dependency", []sidecarColumn{
		{"id", "bigint unsigned", "NOT NULL AUTO_INCREMENT"},
		{"gtid", "varchar(128)", "NOT NULL"},
	}, []string{"PRIMARY KEY (id)"}},
	{"vdiff", []sidecarColumn{
		{"uuid", "varchar(64)", "NOT NULL"},
		{"vrepl_id", "bigint unsigned", "NOT NULL"},
		{"table_name", "varchar(255)", "NOT NULL"},
		{"workflow", "varchar(255)", "NOT NULL"},
		{"source_name", "varchar(255)", "NOT NULL"},
		{"state", "varchar(32)", "NOT NULL"},
		{"lastpk", "mediumblob", "NULL"},
		{"rows_compared", "bigint", "NOT NULL DEFAULT 0"},
		{"rows_total", "bigint", "NOT NULL DEFAULT 0"},
		{"mismatched", "bigint", "NOT NULL DEFAULT 0"},
		{"extra_source", "bigint", "NOT NULL DEFAULT 0"},
		{"extra_target", "bigint", "NOT NULL DEFAULT 0"},
		{"max_report_rows", "int", "NOT NULL DEFAULT 0"},
		{"report", "longtext", "NULL COMMENT 'JSON: sample of the differing rows'"},
		{"error", "text", "NULL"},
		{"created_at", "bigint", "NOT NULL DEFAULT 0"},
		{"updated_at", "bigint", "NOT NULL DEFAULT 0"},
	}, []string{"PRIMARY KEY (uuid, vrepl_id, table_name)", "KEY workflow (workflow, created_at)", "KEY vrepl_id (vrepl_id)"}},
}

// InitSidecar brings the sidecar database up to date: it makes what is missing and changes what has another type. It can be
// repeated, and run by two at the same time. Only for a PRIMARY: its replicas get the changes by replication.
func InitSidecar(ctx context.Context, conn *sqlconn.Conn) error {
	present, err := sidecarColumns(ctx, conn)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	if len(present) == 0 { // a statement about a database that is there waits for all who write to it
		if _, err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Sidecar+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"); err != nil {
			return fmt.Errorf("sidecar: %w", err)
		}
	}
	for i := range sidecar {
		t := &sidecar[i]
		sql := t.alter(present[t.name])
		if sql == "" {
			continue
		}
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("sidecar: table %s: %w", t.name, err)
		}
	}
	return nil
}

// displayWidth is what servers before 8.0.19 print behind integer types.
var displayWidth = regexp.MustCompile(`^((?:tiny|small|medium|big)?int)\(\d+\)`)

// sidecarColumns reads the types of the columns that are there, by table and column.
func sidecarColumns(ctx context.Context, conn *sqlconn.Conn) (map[string]map[string]string, error) {
	res, err := conn.Query(ctx, "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="+sqlconn.Quote(Sidecar))
	if err != nil {
		return nil, err
	}
	present := map[string]map[string]string{}
	for _, row := range res.Rows {
		table := string(row[0])
		if present[table] == nil {
			present[table] = map[string]string{}
		}
		present[table][string(row[1])] = displayWidth.ReplaceAllString(strings.ToLower(string(row[2])), "$1")
	}
	return present, nil
}

// alter returns the statement that makes the table as it shall be, or "".
func (t *sidecarTable) alter(present map[string]string) string {
	name := Sidecar + "." + t.name
	var parts []string
	for _, c := range t.columns {
		def := "`" + c.name + "` " + c.kind + " " + c.rest
		kind, found := present[c.name]
		switch {
		case present == nil:
			parts = append(parts, def)
		case !found:
			parts = append(parts, "ADD COLUMN "+def)
		case kind != c.kind:
			parts = append(parts, "MODIFY COLUMN "+def)
		}
	}
	switch {
	case present == nil:
		return "CREATE TABLE IF NOT EXISTS " + name + " (" + strings.Join(append(parts, t.keys...), ", ") +
			") ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	case len(parts) == 0:
		return ""
	}
	return "ALTER TABLE " + name + " " + strings.Join(parts, ", ")
}
