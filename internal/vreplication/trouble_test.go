package vreplication

import (
	"errors"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"
)

// Errors that somebody can end say how, and are tried again.
func TestTrouble(t *testing.T) {
	for code, want := range map[uint16]string{1021: "make room", 1114: "make room", 1205: "sys.innodb_lock_waits", 1142: "GRANT", 1040: "max_connections"} {
		err := &mysql.MyError{Code: code, Message: "it went wrong"}
		require.Contains(t, Trouble(err), "it went wrong")
		require.Contains(t, Trouble(err), want)
		require.False(t, isPermanent(err), "%d is tried again", code)
	}
	require.Contains(t, Trouble(&mysql.MyError{Code: 1290, Message: "running with the --super-read-only option"}), "super_read_only=OFF")
	require.NotContains(t, Trouble(&mysql.MyError{Code: 1290, Message: "running with the --skip-grant-tables option"}), "read_only")
	require.Equal(t, "boom", Trouble(errors.New("boom")))
	require.Empty(t, Trouble(nil))
}
