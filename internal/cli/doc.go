// Package cli is the command tree: braid <noun> <verb>. It parses, asks the controller, and prints; it decides nothing.
//
// # Model
//
// Nouns: cluster (up, down, status), demo, keyspace, shard, tablet, vschema, schema, routing, workflow (and its makers, move and
// reshard), mysql, errors; replicate, and stream of a target, which need no cluster; binlog and check, which ask a MySQL server and no controller. The daemons are verbs too (tablet run, gate run, controller run, etcd run), so that one binary is
// the whole program.
//
// Data goes to stdout, everything else (progress, prompts, warnings) to stderr. --output json prints one JSON document (binlog tail: one per line).
// A verb that changes something takes --dry-run; one that destroys asks, and without a terminal wants --yes.
//
// # Failure
//
// Exit codes: 0 done; 1 failed; 2 usage; 3 action required (nothing was changed); 4 differences found; 5 timed out
// waiting, the work goes on in the cluster; 130 interrupted. An error is printed with its cause and its remedy.
package cli
