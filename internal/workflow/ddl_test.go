package workflow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTargetDDL(t *testing.T) {
	const create = "CREATE TABLE `AUTO_INCREMENT=5` (\n  `id` bigint NOT NULL AUTO_INCREMENT COMMENT 'an AUTO_INCREMENT=9 of it''s AUTO_INCREMENT',\n" +
		"  `a` varchar(9) DEFAULT ' AUTO_INCREMENT',\n  `b` int /* AUTO_INCREMENTS */,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4 COMMENT='\\' AUTO_INCREMENT=3'"
	const sharded = "CREATE TABLE `AUTO_INCREMENT=5` (\n  `id` bigint NOT NULL COMMENT 'an AUTO_INCREMENT=9 of it''s AUTO_INCREMENT',\n" +
		"  `a` varchar(9) DEFAULT ' AUTO_INCREMENT',\n  `b` int /* AUTO_INCREMENTS */,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='\\' AUTO_INCREMENT=3'"
	require.Equal(t, create, TargetDDL(create, false), "ids of rows that are gone are not given again")
	require.Equal(t, sharded, TargetDDL(create, true))
	require.Equal(t, sharded, TargetDDL(sharded, true), "once is enough")
}

func TestCreationOrder(t *testing.T) {
	refs := map[string][]string{
		"line":  References("CREATE TABLE `line` (... CONSTRAINT `x` FOREIGN KEY (`o`) REFERENCES `order` (`id`), COMMENT 'REFERENCES `nothing`')"),
		"order": References("CREATE TABLE `order` (... FOREIGN KEY (`c`) REFERENCES `customer` (`id`), FOREIGN KEY (`p`) REFERENCES `order` (`id`))"),
		"a":     {"b"},
		"b":     {"a", "elsewhere"},
	}
	require.Equal(t, []string{"order"}, refs["line"])
	require.Equal(t, []string{"customer", "order"}, refs["order"])
	require.Equal(t, []string{"b", "a", "customer", "order", "line"}, CreationOrder([]string{"a", "b", "customer", "line", "order"}, refs))
}

func FuzzTargetDDL(f *testing.F) {
	f.Add("CREATE TABLE `t` (`id` int AUTO_INCREMENT, PRIMARY KEY (`id`)) AUTO_INCREMENT=7", true)
	f.Fuzz(func(t *testing.T, create string, sharded bool) {
		out := TargetDDL(create, sharded)
		if len(out) > len(create) {
			t.Fatalf("%q has grown to %q", create, out)
		}
		References(create)
	})
}
