// Command braid keeps MySQL data moving while applications keep writing. See the README.
package main
