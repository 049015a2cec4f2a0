package mysqld

import (
	"errors"
	"fmt"
	"strings"
)

// Config describes one server.
type Config struct {
	Dir        string // everything of this server; made if need be
	Log        string // its log; "" is <dir>/error.log
	Port       int    // on 127.0.0.1
	ServerID   uint32 // unique among servers that replicate from each other
	DB         string // the keyspace's database, which limits the accounts; "" is all
	Passwords  Passwords
	BufferPool int      // MiB; 0: 48
	Fast       bool     // do not flush to disk at each commit: a killed mysqld loses nothing, a power cut does (tests)
	Options    []string // further options, "name=value"; they win
	Preload    string   // a shared object that is loaded before the server's own libraries (benchmarks, faults); "" is none
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var bad []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	check(c.Dir != "", "dir is empty")
	check(c.Port > 0 && c.Port < 1<<16, "port %d is none", c.Port)
	check(c.ServerID != 0, "server_id is 0, with which nothing replicates")
	check(c.BufferPool >= 0, "buffer_pool %d is negative", c.BufferPool)
	for name, password := range map[string]string{"root": c.Passwords.Root, "admin": c.Passwords.Admin, "app": c.Passwords.App, "repl": c.Passwords.Repl} {
		check(password != "" && !strings.ContainsAny(password, "\n\r\x00;"), "password of %s is empty or has a line break or a semicolon", name)
	}
	return errors.Join(bad...)
}

// options is the server's configuration. Names that some supported versions do not have are prefixed with "loose-".
func (s *Server) options() []string {
	c := s.cfg
	opts := []string{
		"datadir=" + s.dataDir(),
		"tmpdir=" + s.path("tmp"),
		"socket=" + s.socket,
		"pid-file=" + s.path("mysqld.pid"),
		"log-error=" + s.log,
		"log-error-verbosity=2",

		"bind-address=127.0.0.1",
		fmt.Sprintf("port=%d", c.Port),
		"mysqlx=OFF",
		"skip-name-resolve=ON",
		"max-connections=1000",
		"max-allowed-packet=1G",
		"local-infile=ON",
		"secure-file-priv=NULL",

		// What streams and native replicas need.
		fmt.Sprintf("server-id=%d", c.ServerID),
		"gtid-mode=ON",
		"enforce-gtid-consistency=ON",
		"log-bin=binlog",
		"relay-log=relay",
		"loose-relay-log-recovery=ON",
		"loose-log-replica-updates=ON",
		"binlog-row-image=FULL",
		"binlog-row-metadata=FULL",
		"report-host=127.0.0.1",
		fmt.Sprintf("report-port=%d", c.Port),
		"loose-log-bin-trust-function-creators=ON", // with row events a function needs no audit

		"sync-binlog=1",
		"innodb-flush-log-at-trx-commit=1",

		// Small: a dozen share one machine.
		fmt.Sprintf("innodb-buffer-pool-size=%dM", or(c.BufferPool, 48)),
		"innodb-temp-data-file-path=ibtmp1:12M:autoextend",
		"innodb-read-io-threads=2",
		"innodb-write-io-threads=2", // each reserves kernel AIO requests, of which a machine has few
		"performance-schema=OFF",
		"table-open-cache=400",
		"loose-innodb-buffer-pool-dump-at-shutdown=OFF",
	}
	if c.Fast {
		opts = append(opts, "sync-binlog=0", "innodb-flush-log-at-trx-commit=2")
	}
	opts = append(opts, c.Options...)
	argv := make([]string, 0, len(opts)+len(fileLayout))
	argv = append(argv, fileLayout...)
	for _, o := range opts {
		argv = append(argv, "--"+o)
	}
	return argv
}

func or(v, def int) int {
	if v != 0 {
		return v
	}
	return def
}
