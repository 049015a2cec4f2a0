// Package embedded runs an etcd server inside the process, on loopback, for clusters on one machine and for tests.
//
// # Model
//
// One member, one data directory: `data` is etcd's, `etcd.log` has its warnings, `lock` keeps a second process out. It
// writes to disk before it answers, as any etcd does: what a controller wrote down before a crash is there after it.
//
// The store holds kilobytes and sees a few writes a second, so old revisions are kept for ten thousand changes (an hour or
// so; a watch that was away longer reads the whole state again) and the quota is small enough to be noticed.
//
// # Failure
//
// What commonly keeps it from starting is told apart: port taken, directory in use, disk full. A disk that fills up later
// ends the server: [Server.Err] tells, clients see the topology unreachable, and data keeps flowing.
package embedded
