// Package log sets up slog: one JSON object a line for daemons, readable text for terminals. Keys are snake_case; times are
// UTC. Nothing else in the program chooses a handler.
package log
