package tablet

import (
	"errors"
	"fmt"

	"braid/internal/keyrange"
	"braid/internal/topo"
)

// Config says which tablet this is and where everything is.
type Config struct {
	Cell     string
	UID      uint32
	Keyspace string
	Shard    string
	Type     topo.TabletType

	GRPCListen  string // host:port of the tablet service
	MySQLListen string // host:port where gates connect
	DBAddr      string // host:port of the mysqld

	AdminUser, AdminPassword string // DDL, streams, replication control
	AppUser, AppPassword     string // sessions of applications
	ReplUser, ReplPassword   string // binlog dump, native replication, chunk reads
	GateUser, GatePassword   string // what gates log in with here
}

// Alias is the tablet's name in the topology.
func (c Config) Alias() string { return fmt.Sprintf("%s-%d", c.Cell, c.UID) }

// Validate names every field that is missing or wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"cell", c.Cell}, {"keyspace", c.Keyspace}, {"shard", c.Shard}, {"grpc listen address", c.GRPCListen},
		{"mysql listen address", c.MySQLListen}, {"database address", c.DBAddr}, {"admin user", c.AdminUser},
		{"application user", c.AppUser}, {"replication user", c.ReplUser}, {"gate user", c.GateUser},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s is empty", f.name))
		}
	}
	if c.UID == 0 {
		errs = append(errs, errors.New("uid is 0"))
	}
	if _, err := topo.ParseTabletType(string(c.Type)); err != nil {
		errs = append(errs, err)
	}
	if _, err := keyrange.Parse(c.Shard); err != nil && c.Shard != "" {
		errs = append(errs, fmt.Errorf("shard %q: %w", c.Shard, err))
	}
	return errors.Join(errs...)
}
