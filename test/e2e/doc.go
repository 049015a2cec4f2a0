// Package e2e runs the whole program as its users do: the braid binary, real mysqlds, an application's connections; and
// kills parts of it at bad moments. The oracle is always the same: both sides equal (VDiff), and the ledger of acknowledged
// writes, row by row, against the mysqlds themselves.
package e2e
