package binlog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettings(t *testing.T) {
	vars := []byte{0, 0, 0, 0, 4, 1, 32, 0, 160, 69, 0, 0, 0, 0, 6, 3, 's', 't', 'd', 4, 255, 0, 46, 0, 8, 0, 5, 3, '+', '0', '1',
		12, 1, 'd', 0, 13, 1, 2, 3, 11, 1, 'u', 1, 'h', 16, 1, 17, 1, 0, 0, 0, 0, 0, 0, 0, 18, 255, 0, 19, 0, 20, 0}
	all, err := Settings(vars)
	require.NoError(t, err)
	require.Equal(t, []Setting{{"sql_mode", "1168113696", false}, {"character_set_client", "255", false}, {"collation_connection", "46", false},
		{"collation_server", "8", false}, {"time_zone", "'+01'", false}, {"explicit_defaults_for_timestamp", "1", true},
		{"default_collation_for_utf8mb4", "255", true}, {"sql_require_primary_key", "0", true}, {"default_table_encryption", "0", true}}, all)
	for n := range vars { // cut off anywhere: an error, or fewer of them
		if some, err := Settings(vars[:n]); err == nil {
			require.Less(t, len(some), len(all))
		}
	}
	_, err = Settings([]byte{99})
	require.ErrorContains(t, err, "not known")
	_, err = Settings([]byte{12, 254, 16, 1})
	require.NoError(t, err, "too many databases to be named")
}
