package vreplication

import (
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"
)

// A disk that is full is waited for, and the message says what to do.
func TestSpaceError(t *testing.T) {
	require.NoError(t, spaceError(nil))
	for _, code := range []uint16{1021, 1114} {
		err := spaceError(&mysql.MyError{Code: code, Message: "The table 't' is full"})
		require.ErrorContains(t, err, "make room, the copy goes on by itself")
		require.ErrorContains(t, err, "is full")
		require.False(t, isPermanent(err), "it is tried again")
	}
	other := &mysql.MyError{Code: 1062}
	require.Equal(t, error(other), spaceError(other))
}
