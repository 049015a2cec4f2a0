package gate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	tabletpb "braid/api/tablet"
	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
	"braid/internal/topo"
	"braid/internal/vschema"
)

// show answers what only the gate knows. done is false for what servers answer.
func (s *session) show(ctx context.Context, stmt *sqlast.Statement) (done bool, err error) {
	words := stmt.Words(8)
	for i, w := range words {
		words[i] = strings.ToUpper(strings.TrimPrefix(strings.ToLower(w), "vitess_"))
	}
	words = words[1:]
	pattern := likePattern(stmt)
	switch strings.Join(words[:min(2, len(words))], " ") {
	case "VREPLICATION STREAMS":
		return true, s.showStreams(ctx)
	case "VSCHEMA TABLES":
		return true, s.showVSchemaTables()
	case "VSCHEMA VINDEXES":
		return true, s.showVindexes()
	case "FULL PROCESSLIST":
		return true, s.processList()
	}
	if len(words) == 0 {
		return true, syntaxError(stmt)
	}
	switch words[0] {
	case "DATABASES", "SCHEMAS", "KEYSPACES":
		return true, s.showKeyspaces(words[0], pattern)
	case "SHARDS":
		return true, s.showShards(pattern)
	case "TABLETS":
		return true, s.showTablets()
	case "VSCHEMA":
		return true, s.showVSchema()
	case "PROCESSLIST":
		return true, s.processList()
	case "GRANTS":
		return true, s.list("Grants for "+s.c.User+"@%", "GRANT ALL PRIVILEGES ON *.* TO `"+s.c.User+"`@`%`")
	case "WARNINGS", "ERRORS", "COUNT":
		return s.diagnostics(ctx, stmt)
	}
	return false, nil
}

// likePattern is the text after LIKE; "" if there is none.
func likePattern(stmt *sqlast.Statement) string {
	words := stmt.Words(16)
	for i, w := range words {
		if strings.EqualFold(w, "like") && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// like is LIKE without a case.
func like(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	switch p, rest := pattern[0], pattern[1:]; {
	case p == '%':
		for i := range len(text) + 1 {
			if like(rest, text[i:]) {
				return true
			}
		}
		return false
	case p == '\\' && rest != "":
		return text != "" && strings.EqualFold(text[:1], rest[:1]) && like(rest[1:], text[1:])
	case text == "":
		return false
	case p == '_' || strings.EqualFold(pattern[:1], text[:1]):
		return like(rest, text[1:])
	}
	return false
}

func (s *session) list(name string, values ...string) error {
	rows := make([][]string, len(values))
	for i, v := range values {
		rows[i] = []string{v}
	}
	return toClient(s.c.WriteRows(mysqlproto.Text(name), rows))
}

func (s *session) showKeyspaces(what, pattern string) error {
	names := s.g.deps.Cache.Keyspaces()
	if what != "KEYSPACES" {
		names = append(names, "information_schema")
		slices.Sort(names)
	}
	column := map[string]string{"KEYSPACES": "Keyspace"}[what]
	if column == "" {
		column = "Database"
	}
	if pattern != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return !like(pattern, n) })
		column += " (" + pattern + ")"
	}
	return s.list(column, names...)
}

// showShards lists the shards that serve, as USE takes them.
func (s *session) showShards(pattern string) error {
	r := s.g.deps.Cache.Routing()
	var names []string
	for _, ks := range sortedKeys(r.Keyspaces) {
		for _, shard := range r.ServingShards(ks, topo.Primary) {
			if name := ks + "/" + shard; pattern == "" || like(pattern, name) {
				names = append(names, name)
			}
		}
	}
	return s.list("Shards", names...)
}

func (s *session) showTablets() error {
	var rows [][]string
	for _, t := range s.g.deps.Cache.Tablets() {
		state := "SERVING"
		if !t.Serving {
			state = "NOT_SERVING"
		}
		lag := "unknown"
		if t.LagMS >= 0 {
			lag = strconv.FormatInt(t.LagMS, 10) + "ms"
		}
		rows = append(rows, []string{t.Cell, t.Keyspace, t.Shard, string(t.Type), state, t.Alias, t.MySQLAddr, lag, t.Reason})
	}
	return toClient(s.c.WriteRows(mysqlproto.Text("Cell", "Keyspace", "Shard", "TabletType", "State", "Alias", "Hostname", "Lag", "Reason"), rows))
}

// showVSchema lists the VSchema documents.
func (s *session) showVSchema() error {
	var rows [][]string
	docs := s.g.deps.Cache.VSchemas()
	for _, ks := range sortedKeys(docs) {
		rows = append(rows, []string{ks, string(docs[ks])})
	}
	return toClient(s.c.WriteRows(mysqlproto.Text("Keyspace", "VSchema"), rows))
}

func (s *session) showVSchemaTables() error {
	vs := s.g.vschemas.get(s.g)
	var rows [][]string
	for _, ks := range sortedKeys(vs) {
		if s.scope.keyspace != "" && s.scope.keyspace != ks {
			continue
		}
		for _, name := range vs[ks].TableNames() {
			t := vs[ks].Table(name)
			typ := t.Type
			if typ == vschema.TypeTable {
				typ = map[bool]string{true: "sharded", false: "table"}[vs[ks].Sharded]
			}
			sequence := ""
			if t.AutoIncrement != nil {
				sequence = t.AutoIncrement.Column + " from " + t.AutoIncrement.Sequence
			}
			rows = append(rows, []string{ks, name, typ, vindexText(t), sequence})
		}
	}
	return toClient(s.c.WriteRows(mysqlproto.Text("Keyspace", "Table", "Type", "Vindexes", "AutoIncrement"), rows))
}

func vindexText(t *vschema.Table) string {
	var out []string
	for _, cv := range t.ColumnVindexes {
		out = append(out, cv.Name+"("+strings.Join(cv.All(), ", ")+")")
	}
	return strings.Join(out, ", ")
}

func (s *session) showVindexes() error {
	vs := s.g.vschemas.get(s.g)
	var rows [][]string
	for _, ks := range sortedKeys(vs) {
		for _, name := range sortedKeys(vs[ks].Vindexes) {
			v := vs[ks].Vindexes[name]
			var params []string
			for _, k := range sortedKeys(v.Params) {
				params = append(params, k+"="+v.Params[k])
			}
			rows = append(rows, []string{ks, name, v.Type, strings.Join(params, "; ")})
		}
	}
	return toClient(s.c.WriteRows(mysqlproto.Text("Keyspace", "Name", "Type", "Params"), rows))
}

// showStreams asks every primary for its streams.
func (s *session) showStreams(ctx context.Context) error {
	var rows [][]string
	for _, t := range s.g.deps.Cache.Tablets() {
		if t.Type != topo.Primary {
			continue
		}
		streams, err := tabletStreams(ctx, t)
		if err != nil {
			return fmt.Errorf("streams of tablet %s: %w", t.Alias, err)
		}
		rows = append(rows, streams...)
	}
	return toClient(s.c.WriteRows(mysqlproto.Text("Workflow", "Id", "Keyspace", "Shard", "Source", "State", "Position", "Lag", "Message"), rows))
}

func tabletStreams(ctx context.Context, t topo.Tablet) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeouts.RPC)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+t.GRPCAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	resp, err := tabletpb.NewTabletClient(conn).ListStreams(ctx, &tabletpb.ListStreamsRequest{})
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, st := range resp.Streams {
		rows = append(rows, streamRow(t, st))
	}
	return rows, nil
}

func streamRow(t topo.Tablet, st *tabletpb.StreamStatus) []string {
	lag := "unknown"
	if st.LagMs >= 0 {
		lag = strconv.FormatInt(st.LagMs, 10) + "ms"
	}
	spec := st.Spec
	source := spec.SourceKeyspace + "/" + spec.SourceShard
	return []string{spec.Workflow, strconv.FormatInt(st.Id, 10), t.Keyspace, t.Shard, source, st.State, st.Position, lag, st.Message}
}

// diagnostics asks the server that ran the last statement about it.
func (s *session) diagnostics(ctx context.Context, stmt *sqlast.Statement) (bool, error) {
	b := s.backends[s.last]
	if b == nil {
		if strings.Contains(strings.ToUpper(stmt.SQL), "COUNT") {
			return true, toClient(s.c.WriteRows([]mysqlproto.Column{mysqlproto.Int("@@session.warning_count")}, [][]string{{"0"}}))
		}
		cols := mysqlproto.Text("Level", "Code", "Message")
		cols[1] = mysqlproto.Int("Code")
		return true, toClient(s.c.WriteRows(cols, nil))
	}
	return true, s.relay(ctx, &plan{epoch: s.g.deps.Cache.Routing().Epoch, parts: []part{{b.dest, stmt.SQL}}}, stmt)
}
