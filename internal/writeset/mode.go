package writeset

import "fmt"

// Mode says where dependencies come from.
type Mode uint8

// The modes.
const (
	Writeset     Mode = iota // row changes: exact
	LogicalClock             // last_committed of the source, as MySQL's own applier does
	Database                 // one transaction of a database at a time
	Serial                   // one transaction at a time
)

var modeNames = [...]string{"writeset", "logical_clock", "database", "serial"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode reads what String writes.
func ParseMode(s string) (Mode, error) {
	for i, name := range modeNames {
		if s == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("dependency mode %q: not one of %q", s, modeNames)
}

// MarshalText and UnmarshalText make a Mode a string in configuration and JSON.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMode.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}
