package embedded

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
)

func TestDiskFull(t *testing.T) {
	err := room("/data/etcd", 5<<20)
	require.ErrorIs(t, err, errs.NoSpace)
	require.EqualError(t, err, "etcd needs 256 MiB in /data/etcd, 5 MiB are free")
	require.NoError(t, room("/data/etcd", minSpace))

	full := fmt.Errorf("create wal: %w", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	require.ErrorIs(t, explain(full, "/data/etcd"), errs.NoSpace)
}
