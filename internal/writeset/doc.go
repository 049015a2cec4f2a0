// Package writeset says which transactions must wait for which, so that all others may run at the same time.
//
// # Model
//
// A [Tracker] is given the transactions of one stream in their order. Each gets the next local sequence number, and a [Dependency]:
//
//	Preds   earlier transactions that it must follow, exactly these
//	Floor   a sequence up to which everything must be done before it
//
// Most transactions need Preds only. A Floor is a barrier when it is the sequence just before the transaction, and harmless when it is
// far behind. A transaction behind a blocked one is not blocked itself.
//
// In mode [Writeset] dependencies come from tokens. A transaction takes tokens shared or exclusively, and follows earlier holders as
// with locks: exclusive follows all holders since the last exclusive one, shared follows the last exclusive one. What takes what:
//
//	a row change             each unique key entry of source and target that it removes or makes   exclusive
//	                         its table                                                             shared
//	a row that cannot be     its table                                                             exclusive
//	 reduced to key entries
//	a child row that comes,  the parent key entry that it names, and the parent's table            shared
//	 goes or changes parent
//	a parent row             each entry that children may name                                     exclusive
//	a parent row that goes   the child tables: those that only the engine changes (a cascade that  exclusive,
//	 or changes its key      is not in the events), recursively; those that it only looks at       or shared
//
// Key entries are hashed to 64 bits: a collision costs a dependency that is not needed, never one that is. A key entry is a list of
// normal forms, one per column, such that two values which the index holds equal have equal forms (collation weights without the
// padding, the first characters of a prefix, numbers without idle zeros and signs). What is not known, an expression, an unknown
// collation, a column that the events lack, a conversion between source and target, has the constant form: the key gets coarser,
// and if nothing of it is left, or no key identifies the row, the whole table is the token. A NULL in a unique key makes no entry.
// A transaction that changes more than 16,384 rows of a table takes the table, too.
//
// The other modes: [LogicalClock] uses the source's own last_committed, and tokens where those prove nothing; [Database] makes a
// database one token; [Serial] is a chain.
//
// A [Graph] collects dependencies to look at them: waves, critical path, width, and the time that N workers would take.
//
// # Invariants
//
//   - A3: two transactions of which neither follows the other, directly or through others, can be run in either order and at
//     the same time: no statement fails in one order only, and the final rows are the same.
//   - WS1: each Dependency points backwards, is sorted newest first, free of duplicates, and has nothing that its Floor or (among the last 256
//     transactions) another of its members implies.
//   - WS2: memory is bounded by Config.History entries. Entries are kept in two generations; when the younger is full the older one
//     is forgotten, and its last transaction becomes the base: the Floor of all later transactions is at least the base. The base is half a
//     history behind, so that nobody waits for it as a rule.
//   - WS3: a row costs no allocation once the tracker is warm; text beyond ASCII in one of the collations that came before
//     utf8mb4_0900 and follow the Unicode algorithm costs one.
//
// # Why entries that do not change need no token
//
// An update that leaves a secondary unique key alone takes no token for it. Whatever conflicts with the entry v of that key either made
// v in this row before, or removes it from this row after: both take the token of the row itself, by its identifying key, and so does the
// update. Everything else that touches v follows, or is followed by, one of these two through the token of v. The same holds for a child row
// that keeps its parent.
//
// # The logical clock as a second proof
//
// Tables without a usable key make chains of transactions that have nothing in common. The source's clock can cut these. Let A come
// before B, both written by one server to one binlog file, and last_committed(B) < sequence_number(A). MySQL gives such a pair for one of two
// reasons. Lock intervals: A had not committed in the engine, and so had released no lock, when B's last statement had finished and so held all its
// locks. Both held their locks at the same time, so they have no changed row and no entry of any unique index in common, and neither saw
// a row of the other. Or write sets, which the source computes for all unique indexes, functional and multi-valued ones
// included, with the same result; for tables without a key it does not use them. On rows and entries that are disjoint the statements commute,
// and on the target too, if nothing there joins what the source kept apart. So the proof is accepted only where all of this holds:
//
//   - the pair shares nothing but the exclusive token of that table;
//   - the source's table is InnoDB: others release their locks before the binlog is written;
//   - every unique index of the target exists on the source, with the same columns, prefixes, expressions and collations, over
//     columns of the same type (an entry that is equal on the target is equal on the source);
//   - the table takes part in no foreign key of the target: a source session may have had its checks off;
//   - only one source table writes to the target table;
//   - neither transaction was written with relaxed unique checks, and neither is an XA transaction, whose XA COMMIT has
//     an empty write set ([Clock] is zero for them).
//
// Two copies of one row in a table without a key are no exception: the source changed two copies, the target changes any two, and the
// rows that remain are the same. The same conditions decide where mode LogicalClock trusts the clock alone.
//
// # Beyond outcomes
//
// A parent row that is updated without its key takes the exclusive token of its key entries too, although children would not notice: InnoDB makes
// them wait for the row's lock, and a later transaction that waits for its turn to commit while it holds that lock would stall an earlier one.
//
// # Concurrency
//
// None: a Tracker and a Graph belong to one goroutine. Slices in a Dependency are valid until the next call.
//
// # Failure
//
// There is no error. What the package does not understand makes a coarser token, and in the end a barrier. A change of a table's
// definition that could change tokens makes a new base; so do Barrier, CheckForeignKeys and, on the next transaction, a new binlog file in mode
// LogicalClock. The history is not kept over restarts: everything before the first transaction is done by then.
package writeset
