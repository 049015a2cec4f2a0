package apply

import "braid/internal/apply/rows"

// What says how a table's rows are written is in package rows; its names that this package's users need.
type (
	Table   = rows.Table
	Mode    = rows.Mode
	Final   = rows.Final
	Failure = rows.Failure
)

// The modes of a table.
const (
	Upsert = rows.Upsert
	Strict = rows.Strict
	Merge  = rows.Merge
)

// LockWait is the session's innodb_lock_wait_timeout, in seconds.
const LockWait = rows.LockWait

// The package's names for those of package rows.
var (
	ErrMissing = rows.ErrMissing
	ErrRepeat  = rows.ErrRepeat
	NewTable   = rows.NewTable
	Permanent  = rows.Permanent
	Session    = rows.Prepare
	Refusal    = rows.Refusal
)
