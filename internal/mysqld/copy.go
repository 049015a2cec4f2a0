package mysqld

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// CopyDir copies the directory of a server that was stopped cleanly to one that does not exist yet. With newIdentity the copy is a server
// of its own, which may replicate from the original; without it is the same server, and must not run beside it.
func CopyDir(from, to string, newIdentity bool) error {
	stage := to + ".making"
	if err := os.RemoveAll(stage); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := copyTree(from, stage); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if newIdentity {
		if err := os.Remove(filepath.Join(stage, "data", "auto.cnf")); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	if err := os.Rename(stage, to); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// copyTree copies a data directory. Blocks are shared where the file system can (reflink); elsewhere blocks of zeros, most
// of a new data directory, become holes.
func copyTree(from, to string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o750)
		case entry.Type().IsRegular():
			return copyFile(path, target)
		default:
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
	})
	if err != nil {
		return fmt.Errorf("copy data directory: %w", err)
	}
	return nil
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if clone(dst, src) {
		return nil
	}
	return copySparse(dst, src)
}

// copySparse copies without writing blocks of zeros.
func copySparse(dst, src *os.File) error {
	const block = 64 << 10
	zeros, buf := make([]byte, block), make([]byte, block)
	var size int64
	for {
		n, err := io.ReadFull(src, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := dst.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return dst.Truncate(size)
		case err != nil:
			return err
		}
	}
}
