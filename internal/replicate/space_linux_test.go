package replicate

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// smallDisk is a file system of the test's own.
func smallDisk(t *testing.T, options string) (path string) {
	path = t.TempDir()
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
	return path
}

// The disk of the target's binlog is full: MySQL keeps the commit, and looks once a minute whether there is room.
func TestTargetWithoutSpaceForItsBinlog(t *testing.T) {
	disk := smallDisk(t, "size=16m")
	source, _ := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{Durable: true, Options: []string{"log-bin=" + disk + "/binlog"}})
	w := worldOf(t, source, target, "nobinlogspace")
	w.fill()
	r := w.start()
	r.running()
	ballast := disk + "/ballast"
	require.ErrorIs(t, fillDisk(ballast), syscall.ENOSPC)
	for i := range 20 {
		w.source.exec(fmt.Sprintf("UPDATE %s.item SET qty=%d", w.db, -i-1))
	}
	r.says("has not answered for", "make room")
	require.NoError(t, os.Remove(ballast))
	r.catchUp()
	w.equal(w.db + ".item")
	w.source.exec("UPDATE " + w.db + ".item SET qty=-100")
	r.catchUp()
	w.equal(w.db + ".item")
	require.NoError(t, r.stop())
	require.Equal(t, "1", w.target.one("SELECT @@GLOBAL.log_bin"))
}

// fillDisk writes a file until there is no space.
func fillDisk(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	return err
}

// The target cannot make its next binlog file: it ends itself (binlog_error_action=ABORT_SERVER), and comes back when there is room.
func TestTargetThatCannotRotateItsBinlog(t *testing.T) {
	disk := smallDisk(t, "nr_inodes=50")
	source, _ := mysqldtest.Shared(t)
	target := mysqldtest.New(t, mysqldtest.Options{Durable: true, Options: []string{"log-bin=" + disk + "/binlog"}})
	w := worldOf(t, source, target, "norotation")
	w.fill()
	r := w.start()
	r.running()
	require.NoError(t, os.Mkdir(disk+"/ballast", 0o700))
	var err error
	for i := 0; err == nil; i++ {
		err = os.WriteFile(fmt.Sprintf("%s/ballast/%d", disk, i), nil, 0o600)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = w.target.conn.Exec(t.Context(), "FLUSH BINARY LOGS")
	require.Error(t, err)
	<-target.Done()
	w.source.exec("UPDATE " + w.db + ".item SET qty=-1")
	r.says("connect")
	require.NoError(t, os.RemoveAll(disk+"/ballast"))
	require.NoError(t, target.Start(t.Context()))
	w.target.again()
	r.catchUp()
	w.equal(w.db + ".item")
	require.NoError(t, r.stop())
}
