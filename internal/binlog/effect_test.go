package binlog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEffects(t *testing.T) {
	for sql, want := range map[string]Effect{
		"TRUNCATE t":                                           RemovesRows,
		"/* app */ truncate table d.t":                         RemovesRows,
		"ALTER TABLE t DROP PARTITION p0, p1":                  RemovesRows,
		"alter table t truncate partition all":                 RemovesRows,
		"ALTER TABLE t /*!80000 TRUNCATE */ PARTITION p":       RemovesRows,
		"ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u":      ReplacesRows,
		"ALTER TABLE t IMPORT TABLESPACE":                      ReplacesRows,
		"ALTER TABLE t DISCARD PARTITION p TABLESPACE":         ReplacesRows,
		"/* app */ DROP /* x */ TABLE IF EXISTS t":             DropsTables,
		"DROP SCHEMA d":                                        DropsTables,
		"DROP INDEX i ON t":                                    ChangesDefinition,
		"-- app\nRENAME TABLE t TO u":                          RenamesTables,
		"ALTER TABLE t RENAME u":                               RenamesTables,
		"ALTER TABLE t RENAME AS `u`, ADD a INT":               RenamesTables,
		"ALTER TABLE t RENAME COLUMN a TO b":                   ChangesDefinition,
		"ALTER TABLE t RENAME INDEX a TO b":                    ChangesDefinition,
		"ALTER TABLE t COMMENT 'TRUNCATE PARTITION p'":         ChangesDefinition,
		"ALTER TABLE t DROP `partition`":                       ChangesDefinition,
		"ALTER TABLE t REORGANIZE PARTITION p INTO (a)":        ChangesDefinition,
		"ALTER TABLE t ADD COLUMN `truncate` INT, DROP `drop`": ChangesDefinition,
		"CREATE TABLE t (a INT)":                               ChangesDefinition,
	} {
		require.Equal(t, want, EffectOf(sql, nil), sql)
	}
}
