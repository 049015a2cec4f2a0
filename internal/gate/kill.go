package gate

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
)

// kill is KILL [CONNECTION | QUERY] id, of a session of this gate.
func (s *session) kill(id uint64, query bool) error {
	s.g.mu.Lock()
	victim := s.g.mu.sessions[uint32(id)]
	s.g.mu.Unlock()
	if victim == nil || id > 1<<32-1 {
		return mysqlproto.Error(mysql.ER_NO_SUCH_THREAD, "HY000", fmt.Sprintf("Unknown thread id: %d", id))
	}
	if victim.c.User != s.c.User {
		return mysqlproto.Error(mysql.ER_KILL_DENIED_ERROR, "HY000", fmt.Sprintf("You are not owner of thread %d", id))
	}
	victim.mu.Lock()
	running := victim.mu.running
	victim.mu.Unlock()
	if running != nil {
		victim.killed.Store(true)
		running()
	}
	if !query {
		victim.cancel()
		if victim != s {
			victim.c.Close()
		}
	}
	if victim == s {
		return errInterrupted()
	}
	return toClient(s.c.WriteOK(mysqlproto.OK{}))
}

// killThere ends what a tablet still runs for a connection that was cut because somebody killed the statement: a server does
// not notice by itself while it computes.
func (s *session) killThere(b *backend) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), timeouts.Dial)
	defer cancel()
	c, err := s.g.pool.get(ctx, b.dest, b.tablet, b.key.foundRows)
	if err != nil {
		return
	}
	if _, err := c.control(ctx, fmt.Sprintf("KILL %d", b.ID)); err != nil || !s.g.pool.keep(c) {
		c.Abort()
	}
}

// processList is SHOW PROCESSLIST: the sessions of this gate.
func (s *session) processList() error {
	s.g.mu.Lock()
	all := make([]*session, 0, len(s.g.mu.sessions))
	for _, x := range s.g.mu.sessions {
		all = append(all, x)
	}
	s.g.mu.Unlock()
	slices.SortFunc(all, func(a, b *session) int { return int(a.c.ID) - int(b.c.ID) })
	var rows [][]string
	for _, x := range all {
		if x.c.User != s.c.User {
			continue
		}
		x.mu.Lock()
		command, text, scope := "Sleep", x.mu.current, x.mu.scope
		x.mu.Unlock()
		if text != "" {
			command = "Query"
		}
		rows = append(rows, []string{strconv.Itoa(int(x.c.ID)), x.c.User, x.c.RemoteAddr().String(), scope, command, "0", "", text})
	}
	cols := mysqlproto.Text("Id", "User", "Host", "db", "Command", "Time", "State", "Info")
	cols[0], cols[5] = mysqlproto.Int("Id"), mysqlproto.Int("Time")
	return toClient(s.c.WriteRows(cols, rows))
}
