package mysqld_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

func TestServerIsSetUpForStreams(t *testing.T) {
	begin := time.Now()
	server := mysqldtest.New(t, mysqldtest.Options{})
	t.Logf("started in %v", time.Since(begin))
	conn := mysqldtest.Dial(t, server.Admin())
	res, err := conn.Query(t.Context(), "SELECT @@gtid_mode, @@binlog_row_image, @@binlog_row_metadata, @@gtid_executed, @@hostname")
	require.NoError(t, err)
	require.Equal(t, "ON", string(res.Rows[0][0]))
	require.Equal(t, "", string(res.Rows[0][3]))
}
