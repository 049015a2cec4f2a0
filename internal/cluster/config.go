package cluster

import (
	"fmt"
	"path/filepath"

	"braid/internal/mysqld"
	"braid/internal/topo"
)

// Account is a user and a password.
type Account struct{ User, Password string }

// Accounts are a mysqld's accounts.
type Accounts struct{ Root, Admin, App, Repl Account }

// TabletConfig is what a tablet must know. Addresses are host:port.
type TabletConfig struct {
	Cell      string
	UID       uint32
	Keyspace  string
	Shard     string
	Type      topo.TabletType
	GRPCAddr  string
	MySQLAddr string // the tablet's own MySQL listener
	DBAddr    string // its mysqld
	Accounts  Accounts
	Gate      Account // what gates log in with
}

// Alias is the tablet's name in the topology.
func (c TabletConfig) Alias() string { return fmt.Sprintf("%s-%d", c.Cell, c.UID) }

// GateConfig is what the gate must know.
type GateConfig struct {
	Listen string
	Users  map[string]string // applications: user → password
	Tablet Account           // how it logs in at tablets
}

// GateConfig is the configuration of the gate.
func (p *Plan) GateConfig() GateConfig {
	return GateConfig{
		Listen: p.GateAddr(),
		Users:  map[string]string{AppUser: p.Passwords.User},
		Tablet: Account{GateUser, p.Passwords.Tablet},
	}
}

// User is the account of applications at the gate.
func (p *Plan) User() Account { return Account{AppUser, p.Passwords.User} }

func (p *Plan) accounts() Accounts {
	pw := p.Passwords.MySQL
	return Accounts{
		Root: Account{mysqld.RootUser, pw.Root}, Admin: Account{mysqld.AdminUser, pw.Admin},
		App: Account{mysqld.AppUser, pw.App}, Repl: Account{mysqld.ReplUser, pw.Repl},
	}
}

func (p *Plan) tabletConfig(s Shard, t Tablet) TabletConfig {
	return TabletConfig{
		Cell: p.Cell, UID: t.UID, Keyspace: s.Keyspace, Shard: s.Name, Type: t.Type,
		GRPCAddr: addr(t.GRPCPort), MySQLAddr: addr(t.MySQLPort), DBAddr: addr(t.DBPort),
		Accounts: p.accounts(), Gate: Account{GateUser, p.Passwords.Tablet},
	}
}

// mysqldConfig is the configuration of a tablet's mysqld. Server IDs are the tablets' numbers.
func (p *Plan) mysqldConfig(s Shard, t Tablet) mysqld.Config {
	name := mysqldName(t.UID)
	return mysqld.Config{
		Dir: filepath.Join(p.dataDir, name), Log: p.LogPath(name), Port: t.DBPort, ServerID: t.UID, DB: s.Keyspace,
		Passwords: p.Passwords.MySQL,
	}
}

func mysqldName(uid uint32) string { return fmt.Sprintf("mysql-%d", uid) }
func tabletName(uid uint32) string { return fmt.Sprintf("tablet-%d", uid) }
