// Package timeouts holds every timeout of the program, each with the reason for its value, so that they can be judged side by side.
package timeouts
