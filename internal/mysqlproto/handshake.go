package mysqlproto

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

const serverCaps = mysql.CLIENT_LONG_PASSWORD | mysql.CLIENT_FOUND_ROWS | mysql.CLIENT_LONG_FLAG | mysql.CLIENT_CONNECT_WITH_DB |
	mysql.CLIENT_ODBC | mysql.CLIENT_IGNORE_SPACE | mysql.CLIENT_PROTOCOL_41 | mysql.CLIENT_INTERACTIVE | mysql.CLIENT_TRANSACTIONS |
	mysql.CLIENT_SECURE_CONNECTION | mysql.CLIENT_MULTI_STATEMENTS | mysql.CLIENT_MULTI_RESULTS | mysql.CLIENT_PS_MULTI_RESULTS |
	mysql.CLIENT_PLUGIN_AUTH | mysql.CLIENT_CONNECT_ATTRS | mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
	mysql.CLIENT_SESSION_TRACK | mysql.CLIENT_DEPRECATE_EOF

const saltSize = 20

// newSalt makes random bytes that are neither 0 nor '$', which the protocol uses as separators.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	rand.Read(salt) //nolint:errcheck // it never fails
	for i, b := range salt {
		if b &= 0x7f; b == 0 || b == '$' {
			b++
		}
		salt[i] = b & 0x7f
	}
	return salt
}

// handshake greets a client, switches to TLS if it asks, and checks who it is.
func (c *ServerConn) handshake(cfg *Config) error {
	c.salt = newSalt()
	caps := serverCaps
	if cfg.TLS != nil {
		caps |= mysql.CLIENT_SSL
	}
	if err := c.send(c.greeting(cfg.Version, caps)); err != nil {
		return err
	}
	p, err := c.ReadPacket(maxHandshake)
	if err != nil {
		return err
	}
	if len(p) >= 4 && binary.LittleEndian.Uint32(p)&caps&mysql.CLIENT_SSL != 0 {
		if p, err = c.startTLS(cfg.TLS); err != nil {
			return err
		}
	}
	login, err := parseLogin(p)
	if err != nil {
		return err
	}
	c.caps = login.caps & caps
	c.User, c.DB, c.Collation, c.Attributes = login.user, login.db, login.collation, login.attributes
	return c.authenticate(cfg, login.plugin, login.response)
}

// maxHandshake bounds what somebody who has not said who he is can make us keep.
const maxHandshake = 128 << 10

func (c *ServerConn) greeting(version string, caps uint32) []byte {
	p := append([]byte{mysql.ClassicProtocolVersion}, version...)
	p = binary.LittleEndian.AppendUint32(append(p, 0), c.ID)
	p = append(append(p, c.salt[:8]...), 0)
	p = binary.LittleEndian.AppendUint16(p, uint16(caps))
	p = append(p, collationUTF8MB4)
	p = binary.LittleEndian.AppendUint16(p, mysql.SERVER_STATUS_AUTOCOMMIT)
	p = binary.LittleEndian.AppendUint16(p, uint16(caps>>16))
	p = append(append(p, saltSize+1), make([]byte, 10)...)
	p = append(append(p, c.salt[8:]...), 0)
	return append(append(p, mysql.AUTH_CACHING_SHA2_PASSWORD...), 0)
}

func (c *ServerConn) startTLS(cfg *tls.Config) ([]byte, error) {
	err := c.upgrade(func(nc net.Conn) (net.Conn, error) {
		t := tls.Server(nc, cfg)
		return t, t.Handshake()
	})
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return c.ReadPacket(maxHandshake)
}

// login is what a client says of itself.
type login struct {
	caps       uint32
	collation  uint16
	user, db   string
	plugin     string
	response   []byte
	attributes map[string]string
}

func parseLogin(p []byte) (login, error) {
	r := mysqlwire.Fields{P: p}
	l := login{caps: r.Uint32()}
	if l.caps&mysql.CLIENT_PROTOCOL_41 == 0 || l.caps&mysql.CLIENT_SECURE_CONNECTION == 0 {
		return l, Error(mysql.ER_NOT_SUPPORTED_AUTH_MODE, "08004", "Client does not support authentication protocol requested by server; consider upgrading MySQL client")
	}
	r.Uint32() // the client's max packet size
	l.collation = uint16(r.Byte())
	r.Take(23)
	l.user = r.CString()
	if l.caps&mysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA != 0 {
		l.response = r.Bytes()
	} else {
		l.response = r.Take(int(r.Byte()))
	}
	if l.caps&mysql.CLIENT_CONNECT_WITH_DB != 0 && len(r.P) > 0 {
		l.db = r.CString()
	}
	l.plugin = mysql.AUTH_NATIVE_PASSWORD
	if l.caps&mysql.CLIENT_PLUGIN_AUTH != 0 && len(r.P) > 0 {
		l.plugin = r.CString()
	}
	if l.caps&mysql.CLIENT_CONNECT_ATTRS != 0 && len(r.P) > 0 {
		l.attributes = parseAttributes(r.Bytes())
	}
	if r.Bad {
		return l, Error(mysql.ER_HANDSHAKE_ERROR, "08S01", "Bad handshake")
	}
	return l, nil
}

func parseAttributes(p []byte) map[string]string {
	attrs := map[string]string{}
	for r := (mysqlwire.Fields{P: p}); len(r.P) > 0; {
		key, value := r.Bytes(), r.Bytes()
		if r.Bad {
			break
		}
		attrs[string(key)] = string(value)
	}
	return attrs
}

// authenticate checks a response to the salt, asking again if the client guessed a plugin that is not known here. A user who
// does not exist is refused at the same point as one with a wrong password.
func (c *ServerConn) authenticate(cfg *Config, plugin string, response []byte) error {
	if plugin != mysql.AUTH_CACHING_SHA2_PASSWORD && plugin != mysql.AUTH_NATIVE_PASSWORD {
		var err error
		if response, err = c.switchPlugin(); err != nil {
			return err
		}
		plugin = mysql.AUTH_CACHING_SHA2_PASSWORD
	}
	password, known := cfg.Password(c.User)
	if !known || !checkPassword(plugin, response, c.salt, password) {
		return c.denied(len(response) > 1)
	}
	if plugin == mysql.AUTH_CACHING_SHA2_PASSWORD && password != "" {
		return c.WritePacket([]byte{mysql.MORE_DATE_HEADER, mysql.CACHE_SHA2_FAST_AUTH})
	}
	return nil
}

// switchPlugin asks for an answer by caching_sha2_password, with a salt of its own.
func (c *ServerConn) switchPlugin() ([]byte, error) {
	c.salt = newSalt()
	p := append([]byte{mysql.EOF_HEADER}, mysql.AUTH_CACHING_SHA2_PASSWORD...)
	p = append(append(append(p, 0), c.salt...), 0)
	if err := c.send(p); err != nil {
		return nil, err
	}
	return c.ReadPacket(maxHandshake)
}

func checkPassword(plugin string, response, salt []byte, password string) bool {
	if password == "" {
		return len(response) == 0 || len(response) == 1 && response[0] == 0
	}
	want := mysql.CalcCachingSha2Password(salt, []byte(password))
	if plugin == mysql.AUTH_NATIVE_PASSWORD {
		want = mysql.CalcNativePassword(salt, []byte(password))
	}
	return subtle.ConstantTimeCompare(want, response) == 1
}

func (c *ServerConn) denied(withPassword bool) error {
	using := "NO"
	if withPassword {
		using = "YES"
	}
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = "localhost"
	}
	return Error(mysql.ER_ACCESS_DENIED_ERROR, "28000", fmt.Sprintf("Access denied for user '%s'@'%s' (using password: %s)", c.User, host, using))
}

// changeUser is COM_CHANGE_USER: the connection begins anew as somebody else.
func (c *ServerConn) changeUser(cfg *Config, p []byte) error {
	r := mysqlwire.Fields{P: p}
	c.User = r.CString()
	r.Take(int(r.Byte())) // an answer to a salt of long ago; a new one is asked for
	c.DB = r.CString()
	if len(r.P) >= 2 {
		c.Collation = r.Uint16()
	}
	response, err := c.switchPlugin()
	if err != nil {
		return err
	}
	return c.authenticate(cfg, mysql.AUTH_CACHING_SHA2_PASSWORD, response)
}
