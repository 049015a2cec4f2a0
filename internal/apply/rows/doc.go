// Package rows writes the changes of source transactions through one MySQL session: which statements a change becomes, what each of them
// must find, and which change it was when one has failed.
package rows
