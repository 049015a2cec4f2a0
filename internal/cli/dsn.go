package cli

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"braid/internal/sqlconn"
)

const dsnForm = "user[:password]@tcp(host:port)/"

// parseDSN reads user[:password]@tcp(host:port)/ or user[:password]@unix(/path)/, with ?tls=true or ?tls=skip-verify behind it. The password may have
// any characters: the address is looked for from the right, the end of the user from the left. Errors do not repeat what was given.
func parseDSN(dsn, password string) (sqlconn.Config, error) {
	fail := func(what string) (sqlconn.Config, error) {
		return sqlconn.Config{}, usageError{fmt.Errorf("the DSN %s; its form is %s (the password may also come in BRAID_PASSWORD)", what, dsnForm)}
	}
	at := max(strings.LastIndex(dsn, "@tcp("), strings.LastIndex(dsn, "@unix("))
	if at < 0 {
		return fail("has no @tcp(host:port)")
	}
	account, rest := dsn[:at], dsn[at+1:]
	network, rest, _ := strings.Cut(rest, "(")
	addr, rest, closed := strings.Cut(rest, ")")
	if !closed {
		return fail("has no ) behind the address")
	}
	cfg := sqlconn.Config{Addr: addr, Password: password}
	if user, secret, ok := strings.Cut(account, ":"); ok {
		cfg.User, cfg.Password = user, secret
	} else {
		cfg.User = account
	}
	if cfg.User == "" {
		return fail("names no user")
	}
	host := ""
	if network == "tcp" {
		var port string
		var err error
		if host, port, err = net.SplitHostPort(addr); err != nil {
			host, port = addr, "3306"
		}
		cfg.Addr = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	path, query, _ := strings.Cut(rest, "?")
	if path != "" && !strings.HasPrefix(path, "/") {
		return fail("has something other than / behind the address")
	}
	var ok bool
	if cfg.TLS, ok = dsnTLS(query, host); !ok {
		return fail("has an option other than tls=true and tls=skip-verify")
	}
	return cfg, nil
}

func dsnTLS(query, host string) (*tls.Config, bool) {
	options, err := url.ParseQuery(query)
	if err != nil {
		return nil, false
	}
	for name, values := range options {
		if name != "tls" {
			return nil, false
		}
		switch values[0] {
		case "true":
			return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}, true
		case "skip-verify":
			return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, true
		case "false":
		default:
			return nil, false
		}
	}
	return nil, true
}
