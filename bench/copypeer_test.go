package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"braid/internal/process"
	"braid/internal/sqlconn"
)

// tool is a command of MySQL's own client programs with an account.
func (c *copying) tool(name string, at *server, args ...string) *exec.Cmd {
	argv, env, err := c.bin.Tool(name)
	require.NoError(c.b, err)
	root := at.Root()
	argv = append(argv, append([]string{"--socket=" + at.Socket(), "--user=" + root.User}, args...)...)
	cmd := exec.CommandContext(c.b.Context(), argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), env...), "MYSQL_PWD="+root.Password)
	cmd.Stderr = os.Stderr
	return cmd
}

// byDump pipes mysqldump into mysql.
func (c *copying) byDump(src, dst *server) copied {
	dump := c.tool("mysqldump", src, "--single-transaction", "--set-gtid-purged=OFF", "--no-tablespaces", "--databases", database)
	load := c.tool("mysql", dst)
	pipe, err := dump.StdoutPipe()
	require.NoError(c.b, err)
	load.Stdin = pipe
	start := time.Now()
	require.NoError(c.b, dump.Start())
	require.NoError(c.b, load.Run())
	require.NoError(c.b, dump.Wait())
	o := copied{wall: time.Since(start)}
	for _, cmd := range []*exec.Cmd{dump, load} {
		o.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return o
}

// byMydumper dumps to files and loads them, with four threads each.
func (c *copying) byMydumper(src, dst *server) copied {
	files := filepath.Join(c.dir, "mydumper")
	defer os.RemoveAll(files)
	start := time.Now()
	var o copied
	for _, argv := range [][]string{
		{"mydumper", "--socket", src.Socket(), "--database", database, "--outputdir", files, "--threads", "4"},
		{"myloader", "--socket", dst.Socket(), "--directory", files, "--threads", "4", "--enable-binlog"},
	} {
		root := src.Root()
		p, err := process.Start(process.Spec{Argv: append(argv, "--user", root.User, "--password", root.Password), Log: filepath.Join(c.dir, argv[0]+".log")})
		require.NoError(c.b, err, "mydumper is wanted: apt-get install mydumper")
		<-p.Done()
		require.NoError(c.b, p.Err(), "%s: %s", argv[0], process.Tail(filepath.Join(c.dir, argv[0]+".log"), 0, 20))
		o.cpu += p.CPU()
	}
	o.wall = time.Since(start)
	return o
}

// chunks are the rows of all tables in memory, as LOAD DATA wants them.
type chunks struct {
	c      *copying
	create []string
	tables [][][]byte
}

const chunkBytes = 16 << 20

func (c *copying) chunks(src *server) *chunks {
	all := &chunks{c: c}
	conn := src.dial(src.Root().WithDB(database))
	defer conn.Close()
	for _, table := range src.tables() {
		res, err := conn.Query(c.b.Context(), "SHOW CREATE TABLE "+table)
		require.NoError(c.b, err)
		all.create = append(all.create, string(res.Rows[0][1]))
		var list [][]byte
		chunk := make([]byte, 0, chunkBytes+1<<10)
		err = conn.QueryStream(c.b.Context(), "SELECT * FROM "+table, func(row [][]byte) error {
			for i, cell := range row { // digits and hexadecimal text: nothing to escape
				if i > 0 {
					chunk = append(chunk, '\t')
				}
				chunk = append(chunk, cell...)
			}
			chunk = append(chunk, '\n')
			if len(chunk) >= chunkBytes {
				list, chunk = append(list, chunk), make([]byte, 0, chunkBytes+1<<10)
			}
			return nil
		})
		require.NoError(c.b, err)
		all.tables = append(all.tables, append(list, chunk))
	}
	return all
}

func (k *chunks) forget() { k.tables = nil }

// load is what the target can do at most: a session per table loads chunks that are there already.
func (k *chunks) load(_, dst *server) copied {
	dst.exec("CREATE DATABASE "+database, "USE "+database)
	dst.exec(k.create...)
	names := dst.tables()
	start := time.Now()
	group, ctx := errgroup.WithContext(k.c.b.Context())
	for i, list := range k.tables {
		group.Go(func() error {
			conn, err := sqlconn.Dial(ctx, dst.Admin().WithDB(database))
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, chunk := range list {
				sql := fmt.Sprintf("LOAD DATA LOCAL INFILE 'chunk' INTO TABLE %s CHARACTER SET binary", names[i])
				if _, err := conn.LoadLocal(ctx, sql, 0, func(w io.Writer) error { _, err := w.Write(chunk); return err }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(k.c.b, group.Wait())
	return copied{wall: time.Since(start)}
}
