package vreplication

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
)

// hugeMiB is the size of a row. BRAID_HUGE_MIB=256 tries one that needs gigabytes of memory, of the servers too.
func hugeMiB() int {
	if n, err := strconv.Atoi(os.Getenv("BRAID_HUGE_MIB")); err == nil {
		return n
	}
	return 17
}

// Rows that are far larger than a chunk are copied, and their changes are applied.
func TestHugeRows(t *testing.T) {
	for name, remote := range map[string]bool{"local": false, "remote": true} {
		t.Run(name, func(t *testing.T) { hugeRows(t, remote) })
	}
}

func hugeRows(t *testing.T, remote bool) {
	n := hugeMiB()
	options := mysqldtest.Options{Options: []string{"max_allowed_packet=1G", "innodb-redo-log-capacity=4G"}}
	source, target := mysqldtest.New(t, options), mysqldtest.New(t, options)
	w := newWorld(t, target, map[string]*mysqld.Server{"src/0": source})
	w.remote = remote
	src := w.sources["src/0"]
	for _, s := range []*side{src, w.target} {
		s.exec("CREATE TABLE t (id int PRIMARY KEY, v longblob)")
	}
	src.exec("INSERT INTO t VALUES (1,'small')", fmt.Sprintf("INSERT INTO t VALUES (2, REPEAT(x'00095c0a27ff', %d))", n<<20/6), "INSERT INTO t VALUES (3,'small')")
	same := func() {
		t.Helper()
		const sums = "SELECT GROUP_CONCAT(CONCAT_WS('/', id, LENGTH(v), SHA2(v, 256)) ORDER BY id) FROM t"
		require.Equal(t, src.one(sums), w.target.one(sums))
	}
	began := time.Now()
	memory := func(what string) {
		defer func() { began = time.Now() }()
		raw, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		for _, line := range strings.Split(string(raw), "\n") {
			if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "VmRSS") {
				t.Log(what, n, "MiB a row:", line, time.Since(began).Round(time.Millisecond))
			}
		}
	}
	w.follow(DDLExec, rule("t"))
	reached := func() {
		t.Helper()
		want := src.executed()
		require.Eventually(t, func() bool {
			s := w.list()[0]
			require.NotEqual(t, Error.String(), s.State, s.Message)
			return s.State == Running.String() && w.target.one("SELECT GTID_SUBSET('"+want+"','"+s.Position+"')") == "1"
		}, 10*time.Minute, 50*time.Millisecond)
	}
	reached()
	same()
	memory("copied")
	src.exec(fmt.Sprintf("INSERT INTO t VALUES (5, REPEAT(x'00095c0a27ff', %d))", n<<20/6))
	reached()
	same()
	memory("inserted")
	src.exec("UPDATE t SET id=20 WHERE id=2")
	reached()
	same()
	memory("updated")
	src.exec("DELETE FROM t WHERE id=5")
	reached()
	same()
}
