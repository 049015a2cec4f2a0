// Package mysqldtest gives tests real MySQL servers: quickly (a copy of a template), configured as streams need them, and gone
// when the test is, even one that is killed.
package mysqldtest
