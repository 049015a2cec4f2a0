package sqlconn

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/timeouts"
)

// ErrLost says that the connection ended before the server answered: whether the statement took effect is unknown.
var ErrLost = errors.New("connection to MySQL lost")

// Config says where to connect and as whom.
type Config struct {
	Addr           string // host:port, or the path of a socket
	User           string
	Password       string
	DB             string        // default database; may be empty
	ConnectTimeout time.Duration // dial and handshake together; 0: timeouts.Dial
	TLS            *tls.Config   // nil: no TLS
	Plain          bool          // keep the server's session defaults; for sessions that run an application's statements
}

// WithDB returns the same account with another default database.
func (c Config) WithDB(db string) Config {
	c.DB = db
	return c
}

// sessionSettings makes all sessions alike, whatever the server's defaults are: those that change what a statement does or finds, how much of it, or how
// definitions are printed. The network timeouts are long because back-pressure may stop us from reading a
// result for minutes, and a worker may hold a transaction open while it waits for the rest of it.
const sessionSettings = "SET NAMES binary, time_zone='+00:00', sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', " +
	"autocommit=1, completion_type=0, max_execution_time=0, net_write_timeout=3600, net_read_timeout=3600, wait_timeout=86400, " +
	"sql_select_limit=18446744073709551615, sql_big_selects=1, sql_safe_updates=0, sql_auto_is_null=0, sql_quote_show_create=1, " +
	"transaction_read_only=0, foreign_key_checks=1, unique_checks=1, information_schema_stats_expiry=0 " +
	"/*!80030 , show_gipk_in_create_table_and_information_schema=1 */"

// Conn is one session. See the package comment for who may use it when.
type Conn struct {
	cfg     Config
	raw     *client.Conn
	sock    net.Conn
	r       *bufio.Reader
	seq     uint8
	out     []byte                // the last statement's packet, kept for the next
	answer  []byte                // of ExecBatch, likewise
	local   func(io.Writer) error // produces the data that the server asks for; nil but in LoadLocal
	status  uint16
	unread  bool // the answers to SendBatch
	broken  atomic.Bool
	running sync.Mutex // held during a call, so that Close knows whether the wire is free
}

// Dial connects, logs in and sets the session up. A server that is not MySQL 8.0 or later is errs.ServerUnsupported, unless the session
// is a plain one.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(cfg.ConnectTimeout, timeouts.Dial))
	defer cancel()
	conn := &Conn{cfg: cfg}
	if err := conn.handshake(ctx); err != nil {
		return nil, fmt.Errorf("connect to MySQL at %s as %s: %w", cfg.Addr, cfg.User, err)
	}
	if !cfg.Plain {
		if err := conn.supported(); err != nil {
			conn.Close()
			return nil, err
		}
		if _, err := conn.Exec(ctx, sessionSettings); err != nil {
			conn.Close()
			return nil, fmt.Errorf("connect to MySQL at %s: session settings: %w", cfg.Addr, err)
		}
	}
	return conn, nil
}

func (c *Conn) handshake(ctx context.Context) error {
	var sock net.Conn
	stop := func() bool { return true }
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		if sock, err = new(net.Dialer).DialContext(ctx, network, addr); err == nil {
			stop = context.AfterFunc(ctx, func() { sock.Close() })
		}
		return sock, err
	}
	raw, err := client.ConnectWithDialer(ctx, "", c.cfg.Addr, c.cfg.User, c.cfg.Password, c.cfg.DB, dial, c.options)
	if !stop() || err != nil {
		if sock != nil {
			sock.Close()
		}
		return cmp.Or(serverError(err), context.Cause(ctx), err)
	}
	c.raw, c.sock = raw, raw.Conn.Conn // after a TLS handshake this is the encrypted connection
	c.r = bufio.NewReaderSize(c.sock, 64<<10)
	c.status = mysql.SERVER_STATUS_AUTOCOMMIT
	return nil
}

// options are the capabilities. Query attributes and the short end-of-rows packet are off: without them the wire format does
// not depend on the server's version.
func (c *Conn) options(raw *client.Conn) error {
	raw.UnsetCapability(mysql.CLIENT_QUERY_ATTRIBUTES)
	raw.UnsetCapability(mysql.CLIENT_DEPRECATE_EOF)
	for _, capability := range []uint32{
		mysql.CLIENT_FOUND_ROWS, mysql.CLIENT_MULTI_STATEMENTS, mysql.CLIENT_MULTI_RESULTS, mysql.CLIENT_SESSION_TRACK,
	} {
		if err := raw.SetCapability(capability); err != nil {
			return err
		}
	}
	if !c.cfg.Plain { // an application's LOAD DATA LOCAL has no data here; the server is to refuse it
		if err := raw.SetCapability(mysql.CLIENT_LOCAL_FILES); err != nil {
			return err
		}
	}
	raw.SetTLSConfig(c.cfg.TLS)
	raw.SetAttributes(map[string]string{"program_name": "braid"})
	return nil
}

// Close ends the session. It may be called more than once and from any goroutine; a call under way returns ErrLost.
func (c *Conn) Close() error {
	c.broken.Store(true)
	if c.running.TryLock() { // nobody is on the wire: say goodbye, so that the server does not log an aborted connection
		defer c.running.Unlock()
		c.sock.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // the goodbye is a courtesy
		c.sock.Write([]byte{1, 0, 0, 0, mysql.COM_QUIT})                //nolint:errcheck // likewise
	}
	if err := c.sock.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close connection to MySQL at %s: %w", c.cfg.Addr, err)
	}
	return nil
}

// Broken says that the session is gone and another must be dialed.
func (c *Conn) Broken() bool { return c.broken.Load() }

// ID is the server's number of this session, as KILL takes it.
func (c *Conn) ID() uint32 { return c.raw.GetConnectionID() }

// ServerVersion is the version that the server gave in its greeting.
func (c *Conn) ServerVersion() string { return c.raw.GetServerVersion() }

// InTransaction is what the last answer said.
func (c *Conn) InTransaction() bool { return c.status&mysql.SERVER_STATUS_IN_TRANS != 0 }

// Addr is where the session is connected to.
func (c *Conn) Addr() string { return c.cfg.Addr }

// ErrCode is MySQL's error number in err's chain, or 0.
func ErrCode(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MyError](err); ok {
		return e.Code
	}
	return 0
}

// serverError is MySQL's own answer in err's chain, or nil. go-mysql wraps it in a stack trace that says nothing to a user.
func serverError(err error) error {
	if e, ok := errors.AsType[*mysql.MyError](err); ok {
		return e
	}
	return nil
}
