// Package topotest is the conformance suite of topology stores. It reads like the contract of topo.Store: what a store of
// ours must do, and what it must do while it cannot be reached.
//
//	func TestStore(t *testing.T) {
//		topotest.Run(t, func(t *testing.T) topotest.Harness { … })
//	}
package topotest
