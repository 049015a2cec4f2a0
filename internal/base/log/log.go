package log

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Format is how lines look.
type Format string

// The formats.
const (
	Auto Format = "auto" // text if the writer is a terminal, else JSON
	JSON Format = "json"
	Text Format = "text"
)

// Level is the level of all loggers that New made; `slog.LevelInfo` at first. It may be changed at any time.
var Level = new(slog.LevelVar)

// New returns a logger that writes to w.
func New(w io.Writer, format Format) *slog.Logger {
	if format == Auto {
		format = JSON
		if f, ok := w.(*os.File); ok && isTerminal(f) {
			format = Text
		}
	}
	opts := &slog.HandlerOptions{Level: Level, ReplaceAttr: replace(format)}
	if format == Text {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// Discard returns a logger for those who must give one and want none.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// SetLevel sets Level from debug, info, warn or error.
func SetLevel(name string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
		return fmt.Errorf("log level %q: one of debug, info, warn, error", name)
	}
	Level.Set(l)
	return nil
}

func replace(format Format) func([]string, slog.Attr) slog.Attr {
	return func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch v := a.Value.Any().(type) {
		case time.Time:
			if a.Key == slog.TimeKey && format == Text {
				return slog.String(slog.TimeKey, v.Local().Format("15:04:05.000"))
			}
			return slog.Time(a.Key, v.UTC())
		case time.Duration: // as text: a number of nanoseconds is for nobody
			return slog.String(a.Key, v.String())
		}
		return a
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
