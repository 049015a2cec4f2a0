// Package rowimagetest has columns of all types with values for them, for the tests of whatever reads or writes rows.
package rowimagetest
