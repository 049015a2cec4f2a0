// Package mysqld finds, installs, configures and runs real MySQL servers, for `braid up`, the demo and the tests.
//
// # Model
//
// A Binary is a mysqld program that can be run: the one that BRAID_MYSQLD names, one on the PATH that is new enough, or one that
// Install unpacked into the user's cache directory. A template is an initialised, empty data directory; one is kept per
// Binary beside the installed programs. A Server is one mysqld with a directory of its own, made by copying the template:
//
//	<dir>/data        the data directory
//	<dir>/error.log   the server's log
//	<dir>/tmp         temporary files
//	<dir>/mysql.sock  the socket (elsewhere if the path is too long for one)
//	<dir>/init.sql    the accounts' statements, 0600, there until the first start succeeded
//	<dir>/ready       marks that success
//
// Installing does not touch the system: packages of Debian unstable are downloaded by apt with directories of its own, checked by
// apt against Debian's keys, unpacked with dpkg -x into a private directory, and run there by their own loader, because they
// are linked against a newer libc than the system's. Copying a template takes a fraction of what initialising does
// (3 s of one core each), which matters when a dozen servers start at once.
//
// # Invariants
//
//	M1 A directory under the cache is complete or absent: work is done in a staging directory and renamed.
//	M2 A new server has no GTIDs, and its accounts are in no binlog: replication between servers starts clean.
//	M3 A server does not outlive the process that started it (package process).
//	M4 A password is in no argument list, environment or log; files that hold one are 0600.
//
// # Concurrency
//
// A Server's methods may be called from any goroutine, Start and Stop one after the other. Find, Install and the template take a
// file lock in the cache directory, so that programs that start at the same time install once.
//
// # Failure
//
// An install or a first start that is interrupted leaves a staging directory or no `ready` mark, and is begun anew. A server that
// dies while it starts is reported with the end of its error log; a taken port and a full disk are recognised.
package mysqld
