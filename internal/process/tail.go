package process

import (
	"bytes"
	"io"
	"os"
)

// Tail returns the last lines of a file, at most n, of what was written after offset from; "" if it cannot be read.
func Tail(path string, from int64, n int) string {
	const most = 16 << 10
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		from = max(from, info.Size()-most)
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	raw, err := io.ReadAll(file)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// Size is the length of a file, 0 if there is none: where a log that is appended to will go on.
func Size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
