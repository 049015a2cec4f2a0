package mysqlproto

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/timeouts"
	"braid/internal/mysqlwire"
)

// ErrLost says that the connection to a server ended before it answered: whether the command took effect is not known.
var ErrLost = errors.New("connection to the server lost")

// ErrNotSent says that a command did not leave completely: it was not executed.
var ErrNotSent = errors.New("command not sent")

// Login says where a Client connects and as whom.
type Login struct {
	Addr           string // host:port, or the path of a socket
	User, Password string
	DB             string
	FoundRows      bool // UPDATE counts the rows it matched, not those it changed
	Attributes     map[string]string
}

// Client is one session on a server.
type Client struct {
	*Conn
	ID      uint32 // the server's number of the session, as KILL takes it
	Version string
	salt    []byte
	pending []uint8 // the sequence numbers with which the answers that are due begin
	columns uint64  // of the rows that are being read
	row     []byte  // a row that came in several packets
}

const clientCaps = mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_LONG_FLAG | mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_TRANSACTIONS |
	mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_MULTI_RESULTS | mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_CONNECT_ATTRS |
	mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | mysql.CLIENT_SESSION_TRACK | mysql.CLIENT_DEPRECATE_EOF

// Dial connects and logs in, within timeouts.Dial. MySQL's refusals are *mysql.MyError in the chain.
func Dial(ctx context.Context, l Login) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, timeouts.Dial)
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(l.Addr, "/") {
		network = "unix"
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, l.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", l.Addr, err)
	}
	c := &Client{Conn: newConn(nc)}
	stop := context.AfterFunc(ctx, c.Interrupt)
	err = c.login(l, network == "unix")
	if !stop() || err != nil {
		nc.Close()
		return nil, fmt.Errorf("log in to %s as %s: %w", l.Addr, l.User, cmp.Or(err, context.Cause(ctx)))
	}
	return c, nil
}

func (c *Client) login(l Login, secure bool) error {
	p, err := c.ReadPacket(maxHandshake)
	if err != nil {
		return err
	}
	if len(p) > 0 && p[0] == mysql.ERR_HEADER {
		return refusal(p)
	}
	plugin, offered, err := c.parseGreeting(p)
	if err != nil {
		return err
	}
	want := clientCaps
	if l.FoundRows {
		want |= mysql.CLIENT_FOUND_ROWS
	}
	if l.DB != "" {
		want |= mysql.CLIENT_CONNECT_WITH_DB
	}
	c.caps = want & offered
	response, err := scramble(plugin, c.salt, l.Password)
	if err != nil {
		return err
	}
	p = binary.LittleEndian.AppendUint32(nil, c.caps)
	p = binary.LittleEndian.AppendUint32(p, MaxPacket)
	p = append(append(p, collationUTF8MB4), make([]byte, 23)...)
	p = append(append(p, l.User...), 0)
	p = mysqlwire.AppendBytes(p, response)
	if l.DB != "" {
		p = append(append(p, l.DB...), 0)
	}
	p = append(append(p, plugin...), 0)
	p = mysqlwire.AppendBytes(p, appendAttributes(l.Attributes))
	if err := c.send(p); err != nil {
		return err
	}
	return c.finishLogin(plugin, l.Password, secure)
}

func appendAttributes(attrs map[string]string) []byte {
	var p []byte
	for k, v := range attrs {
		p = mysqlwire.AppendBytes(mysqlwire.AppendBytes(p, k), v)
	}
	return p
}

func (c *Client) parseGreeting(p []byte) (plugin string, caps uint32, err error) {
	r := mysqlwire.Fields{P: p}
	if v := r.Byte(); v != mysql.ClassicProtocolVersion {
		return "", 0, fmt.Errorf("the server speaks protocol version %d, not %d", v, mysql.ClassicProtocolVersion)
	}
	c.Version = r.CString()
	c.ID = r.Uint32()
	c.salt = append([]byte(nil), r.Take(8)...)
	r.Take(1)
	caps = uint32(r.Uint16())
	r.Take(3) // collation, status
	caps |= uint32(r.Uint16()) << 16
	n := int(r.Byte())
	r.Take(10)
	rest := r.Take(max(13, n-8))
	c.salt = append(c.salt, bytes.TrimRight(rest, "\x00")...)
	plugin = r.CString()
	if plugin == "" {
		plugin = mysql.AUTH_NATIVE_PASSWORD
	}
	return plugin, caps, malformed(r)
}

func scramble(plugin string, salt []byte, password string) ([]byte, error) {
	switch {
	case password == "":
		return nil, nil
	case plugin == mysql.AUTH_CACHING_SHA2_PASSWORD:
		return mysql.CalcCachingSha2Password(salt, []byte(password)), nil
	case plugin == mysql.AUTH_NATIVE_PASSWORD:
		return mysql.CalcNativePassword(salt, []byte(password)), nil
	}
	return nil, fmt.Errorf("the server asks for authentication by %s; known are caching_sha2_password and mysql_native_password", plugin)
}

// finishLogin answers what the server asks until it lets us in. secure says that nobody can listen.
func (c *Client) finishLogin(plugin, password string, secure bool) error {
	for {
		p, err := c.ReadPacket(maxHandshake)
		if err != nil {
			return err
		}
		switch {
		case len(p) == 0:
			return errMalformed
		case p[0] == mysql.OK_HEADER:
			return nil
		case p[0] == mysql.ERR_HEADER:
			return refusal(p)
		case p[0] == mysql.EOF_HEADER:
			r := mysqlwire.Fields{P: p[1:]}
			plugin = r.CString()
			c.salt = append([]byte(nil), bytes.TrimRight(r.P, "\x00")...)
			response, err := scramble(plugin, c.salt, password)
			if err != nil {
				return err
			}
			if err := c.send(response); err != nil {
				return err
			}
		case len(p) == 2 && p[1] == mysql.CACHE_SHA2_FAST_AUTH:
		case len(p) == 2 && p[1] == mysql.CACHE_SHA2_FULL_AUTH:
			if err := c.fullAuth(password, secure); err != nil {
				return err
			}
		default:
			return errMalformed
		}
	}
}

// fullAuth sends the password itself: in clear where nobody listens, else encrypted with the server's key.
func (c *Client) fullAuth(password string, secure bool) error {
	if secure {
		return c.send(append([]byte(password), 0))
	}
	const requestKey = 2
	if err := c.send([]byte{requestKey}); err != nil {
		return err
	}
	p, err := c.ReadPacket(maxHandshake)
	if err != nil {
		return err
	}
	if len(p) == 0 || p[0] != mysql.MORE_DATE_HEADER {
		return errMalformed
	}
	block, _ := pem.Decode(p[1:])
	if block == nil {
		return errMalformed
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("the server's public key: %w", err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("the server's public key is a %T", key)
	}
	secret, err := mysql.EncryptPassword(password, c.salt, public)
	if err != nil {
		return err
	}
	return c.send(secret)
}

func refusal(p []byte) error {
	e, err := parseErr(p)
	if err != nil {
		return err
	}
	return e
}

func (c *Client) send(p []byte) error {
	if err := c.WritePacket(p); err != nil {
		return err
	}
	return c.Flush()
}

// Interrupt ends the call that is under way, and with it the connection. Any goroutine may call it.
func (c *Client) Interrupt() { c.nc.SetDeadline(time.Unix(1, 0)) } //nolint:errcheck // of a socket that is closed already

// Close says goodbye and ends the connection. The goroutine that uses it calls this; others use Interrupt.
func (c *Client) Close() {
	c.nc.SetDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // a socket that is broken needs none
	c.newCommand()
	if c.WritePacket([]byte{mysql.COM_QUIT}) == nil {
		c.Flush() //nolint:errcheck // it is closed anyway
	}
	c.nc.Close()
}

// Abort ends the connection without a word.
func (c *Client) Abort() { c.nc.Close() }

// Queue adds a command to the output; it leaves with the next Send or Flush. Answers come in the order of the commands.
func (c *Client) Queue(cmd byte, payload []byte) error {
	c.newCommand()
	head := len(payload) + 1
	var err error
	if head < maxFragment {
		h := [headerSize + 1]byte{byte(head), byte(head >> 8), byte(head >> 16), 0, cmd}
		c.seq++
		if _, err = c.w.Write(h[:]); err == nil {
			_, err = c.w.Write(payload)
		}
	} else {
		err = c.WritePacket(append([]byte{cmd}, payload...))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if cmd != mysql.COM_STMT_CLOSE { // it has no answer
		c.pending = append(c.pending, c.seq)
	}
	return nil
}

// answer prepares for reading the answer to the oldest command.
func (c *Client) answer() {
	if len(c.pending) > 0 {
		c.seq = c.pending[0]
		c.pending = c.pending[:copy(c.pending, c.pending[1:])]
	}
}

// Send sends a command.
func (c *Client) Send(cmd byte, payload []byte) error {
	if err := c.Queue(cmd, payload); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return nil
}

func lost(err error) error {
	return fmt.Errorf("%w: %w", ErrLost, err)
}
