package vindex

import "math/bits"

// The hash vindex of Vitess is DES with a key of zeros: a mixing function, not a secret. All sixteen subkeys of that key are zero, so that
// nothing is mixed in between the expansion of a half block and the S-boxes. Two neighbouring S-boxes then depend on ten consecutive
// bits alone, and a round is four look-ups in tables of 4 KiB, where DES with any key needs eight. The tables, 16 KiB, stay in the
// first-level cache.
//
// Halves are kept rotated by one bit, which makes the ten bits of the first pair the topmost.

// desPairs are the outputs of S-boxes 2k and 2k+1, permuted, by their ten bits of input.
var desPairs = makePairs()

// desBoxes are the S-boxes of FIPS 46-3: for each, four rows of sixteen.
var desBoxes = [8]string{
	"e4d12fb83a6c5907" + "0f74e2d1a6cb9538" + "41e8d62bfc973a50" + "fc8249175b3ea06d",
	"f18e6b34972dc05a" + "3d47f28ec01a69b5" + "0e7ba4d158c6932f" + "d8a13f42b67c05e9",
	"a09e63f51dc7b428" + "d709346a285ecbf1" + "d6498f30b12c5ae7" + "1ad069874fe3b52c",
	"7de3069a1285bc4f" + "d8b56f03472c1ae9" + "a690cb7df13e5284" + "3f06a1d8945bc72e",
	"2c417ab6853fd0e9" + "eb2c47d150fa3986" + "421bad78f9c5630e" + "b8c71e2d6f09a453",
	"c1af92680d34e75b" + "af427c9561de0b38" + "9ef528c3704a1db6" + "432c95fabe17608d",
	"4b2ef08d3c975a61" + "d0b7491ae35c2f86" + "14bdc37eaf680592" + "6bd814a7950fe23c",
	"d2846fb1a93e50c7" + "1fd8a374c56b0e92" + "7b419ce206adf358" + "21e74a8dfc90356b",
}

// desP is the permutation behind the S-boxes: the i-th bit of the output is that bit of the input, counted from 1 at the top.
var desP = [32]uint{16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25}

func makePairs() (pairs [4][1024]uint32) {
	for k := range pairs {
		for in := range uint32(1024) {
			out := sBox(2*k, in>>4)<<4 | sBox(2*k+1, in&63)
			out <<= 24 - 8*uint(k)
			var permuted uint32
			for i, from := range desP {
				permuted |= out >> (32 - from) & 1 << (31 - i)
			}
			pairs[k][in] = bits.RotateLeft32(permuted, -1)
		}
	}
	return pairs
}

// sBox looks six bits up: the outer two are the row, the inner four the column.
func sBox(box int, in uint32) uint32 {
	c := desBoxes[box][in>>4&2<<4|in&1<<4|in>>1&15]
	if c >= 'a' {
		return uint32(c - 'a' + 10)
	}
	return uint32(c - '0')
}

// desNull is one block.
func desNull(block uint64) uint64 {
	t := &desPairs
	l, r := desInitial(block)
	for range 8 {
		l ^= desRound(t, r)
		r ^= desRound(t, l)
	}
	return desFinal(r, l)
}

// desNullMany does many blocks, in place, two at a time: a round of one waits for its look-ups while the other goes on.
func desNullMany(blocks []uint64) {
	t := &desPairs // in a register: with the tables' names, their addresses are loaded again for each look-up
	for ; len(blocks) >= 2; blocks = blocks[2:] {
		l0, r0 := desInitial(blocks[0])
		l1, r1 := desInitial(blocks[1])
		for range 8 {
			l0 ^= desRound(t, r0)
			l1 ^= desRound(t, r1)
			r0 ^= desRound(t, l0)
			r1 ^= desRound(t, l1)
		}
		blocks[0], blocks[1] = desFinal(r0, l0), desFinal(r1, l1)
	}
	for i := range blocks {
		blocks[i] = desNull(blocks[i])
	}
}

func desRound(t *[4][1024]uint32, r uint32) uint32 {
	return t[0][r>>22] ^ t[1][r>>14&1023] ^ t[2][r>>6&1023] ^ t[3][bits.RotateLeft32(r, 2)&1023]
}

// desInitial is the initial permutation: a transposition of bits, done by exchanging ever smaller blocks of them.
func desInitial(block uint64) (l, r uint32) {
	l, r = uint32(block>>32), uint32(block)
	r, l = exchange(r, l, 4, 0x0f0f0f0f)
	r, l = exchange(r, l, 16, 0x0000ffff)
	l, r = exchange(l, r, 2, 0x33333333)
	l, r = exchange(l, r, 8, 0x00ff00ff)
	r, l = exchange(r, l, 1, 0x55555555)
	return bits.RotateLeft32(l, -1), bits.RotateLeft32(r, -1)
}

// desFinal undoes desInitial.
func desFinal(l, r uint32) uint64 {
	l, r = bits.RotateLeft32(l, 1), bits.RotateLeft32(r, 1)
	r, l = exchange(r, l, 1, 0x55555555)
	l, r = exchange(l, r, 8, 0x00ff00ff)
	l, r = exchange(l, r, 2, 0x33333333)
	r, l = exchange(r, l, 16, 0x0000ffff)
	r, l = exchange(r, l, 4, 0x0f0f0f0f)
	return uint64(l)<<32 | uint64(r)
}

// exchange swaps the bits of a under the mask with those of b that are shift places higher.
func exchange(a, b uint32, shift uint, mask uint32) (uint32, uint32) {
	work := (b>>shift ^ a) & mask
	return a ^ work, b ^ work<<shift
}
