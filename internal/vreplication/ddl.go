package vreplication

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/binlog"
	"braid/internal/schema"
	"braid/internal/sqlconn"
	"braid/internal/vstream"
)

// ddl is a barrier: everything before it is committed, then the stream's policy decides.
func (r *run) ddl(ctx context.Context, d *vstream.DDL) error {
	if r.row.hasStop && r.passed(d.GTID) {
		r.ap.Skip(r.row.StopPos)
		return r.stop(ctx)
	}
	if err := r.delay(ctx, d.CommitUS); err != nil {
		return err
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	policy, err := ParseDDLPolicy(r.row.Source.OnDDL)
	if err != nil {
		return permanent{errs.New(errs.BadInput, err, "stream %d", r.row.ID)}
	}
	switch policy {
	case DDLIgnore:
		if err := r.ignoreDDL(ctx, d); err != nil {
			return err
		}
	case DDLStop:
		return permanent{r.stopAtDDL(d, nil, "the policy for DDL is to stop")}
	default:
		if err := r.execDDL(ctx, d, policy); err != nil {
			return err
		}
	}
	r.outdate(d)
	if err := r.referred(ctx, d); err != nil {
		return err
	}
	if !d.Rows {
		position := r.ap.Position()
		if err := position.Add(d.GTID); err != nil {
			return permanent{err}
		}
		r.ap.Skip(position)
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	if r.row.hasStop && r.reached(r.ap.Position()) {
		return r.stop(ctx)
	}
	moved := r.moves(d)
	again := r.concerned(moved, policy)
	for _, m := range moved {
		delete(r.c.vanished, m.from)
	}
	if r.named(d) || again {
		return errAgain // with the copies as they are now
	}
	return nil
}

// ignoreDDL leaves definitions as they are. If a table does not fit any more, its next change says so. Rows that a statement removes are gone from the source as
// by DELETE, and nothing later would say so: they are removed here, too.
func (r *run) ignoreDDL(ctx context.Context, d *vstream.DDL) error {
	switch binlog.EffectOf(d.SQL, d.Settings) {
	case binlog.RemovesRows:
		if err := r.execDDL(ctx, d, DDLExec); sqlconn.ErrCode(err) != erNoSuchTable {
			return err
		} // nor are its rows
	case binlog.ReplacesRows:
		return permanent{r.stopAtDDL(d, nil, "it replaces rows by others that the binlog does not tell")}
	}
	r.log.Info("DDL of the source is ignored", "gtid", d.GTID, "sql", d.SQL)
	return r.c.e.exec(ctx, append(r.endCopies(d), logStatement(r.row.ID, "ddl ignored", r.row.State, d.SQL))...)
}

// referred compiles the tables again to which a statement has made foreign keys: what may be written beside what is another now.
func (r *run) referred(ctx context.Context, d *vstream.DDL) error {
	for _, n := range binlog.DDLNames(d.SQL, d.DB, d.Settings) {
		for _, p := range r.plans {
			if def := p.def.Def; n.Reference && !p.stale && spelt(n.DB, def.DB) && spelt(n.Table, def.Name) {
				if err := r.table(ctx, p.def); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// stopAtDDL is the error with which a stream stands in front of a statement.
func (r *run) stopAtDDL(d *vstream.DDL, cause error, why string) error {
	text := fmt.Sprintf("%s; the statement of the source: %s", why, shorten(d.SQL))
	if d.DB != "" {
		text = fmt.Sprintf("%s; the statement, in database %s of the source: %s", why, d.DB, shorten(d.SQL))
	}
	if d.Rows {
		return errs.New(errs.DDLStopped, cause, "%s", text).With("make the table on the target by hand, and start the stream with the policy ignore for DDL")
	}
	return errs.New(errs.DDLStopped, cause, "%s: %s", d.GTID, text).
		With("do on the target what the statement does there, then go on behind it: braid replicate … --skip " + d.GTID)
}

func shorten(sql string) string {
	const most = 1000
	if len(sql) > most {
		return sql[:most] + "…"
	}
	return sql
}

// intent is written before a statement is run, into the stream's log. DDL commits by itself, so a crash may come between its commit and
// that of the position; whether the statement was run is then seen by what it was to change. A statement that leaves no trace there
// (TRUNCATE) can be run twice.
type intent struct {
	GTID   string `json:"gtid"`
	SQL    string `json:"sql"`    // SHA-256 of the source's statement, under the target's names
	Before string `json:"before"` // SHA-256 of the definitions
}

// Types of entries of the log.
const (
	intentType = "ddl begins"
	doneType   = "ddl"
)

// execDDL runs a statement on the target, under the target's names.
func (r *run) execDDL(ctx context.Context, d *vstream.DDL, policy DDLPolicy) error {
	job, why := r.translate(d)
	if why != "" {
		if policy == DDLExecIgnore {
			return r.ddlFailed(ctx, d, errors.New(why))
		}
		return permanent{r.stopAtDDL(d, nil, why)}
	}
	if job.sql == "" {
		return r.c.e.exec(ctx, append(r.moveCopies(d), logStatement(r.row.ID, "ddl of others", r.row.State, d.SQL))...)
	}
	if err := r.finishFor(ctx, slices.Concat(job.objects, job.models)); err != nil { // before the definitions are written down, and never afterwards
		return err
	}
	conn, err := r.ddlSession(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.numbersOtherwise(ctx, conn, d, job); err != nil {
		return err
	}
	run := job.sql
	if swaps(job, d.Settings) {
		witness, err := r.witness(ctx, conn)
		if err != nil {
			return fmt.Errorf("DDL %s: %w", shorten(job.sql), err)
		}
		job.objects = append(witness, job.objects...)
		run = binlog.RenameTables(job.objects)
	}
	done, err := r.begunDDL(ctx, conn, d, job)
	if err != nil || done {
		return err
	}
	r.log.Info("DDL of the source is run", "gtid", d.GTID, "sql", shorten(job.sql))
	r.stay("runs DDL: " + shorten(job.sql))
	if err = r.adopt(ctx, conn, d); err != nil {
		return err
	}
	text, err := binlog.Encode(run, d.Settings) // the session has the character set of the source's
	if err != nil {
		return permanent{r.stopAtDDL(d, err, "a name of the target cannot be written in the character set of the source's session")}
	}
	_, err = conn.Exec(ctx, text)
	r.say("")
	switch {
	case err == nil:
		return r.ddlDone(ctx, d, job)
	case errors.Is(err, sqlconn.ErrLost) || ctx.Err() != nil || temporary(err):
		return fmt.Errorf("DDL %s: %w", shorten(job.sql), err)
	case policy == DDLExecIgnore:
		return r.ddlFailed(ctx, d, err)
	}
	return permanent{r.stopAtDDL(d, err, "it failed on the target")}
}

// temporary are errors of a statement that has done nothing and may succeed later: those which somebody ends on the target, and that the server is
// shutting down or read-only, or that the session was ended.
func temporary(err error) bool {
	return Passes(err) || remedy(err) != "" || sqlconn.ErrCode(err) == erReadOnly
}

func (r *run) ddlFailed(ctx context.Context, d *vstream.DDL, err error) error {
	r.log.Warn("DDL of the source failed on the target, and is left out", "gtid", d.GTID, "sql", d.SQL, "error", err)
	return r.c.e.exec(ctx, logStatement(r.row.ID, "ddl failed", r.row.State, err.Error()+": "+d.SQL))
}

// ddlLockWait bounds, in seconds, how long a statement waits for transactions that use its table. Then it is tried again, and the row says so.
const ddlLockWait = 10

// ddlSession has the settings for questions about definitions; those for the statement follow (adopt). Foreign keys are not checked: the source has done
// that, and parents may come later.
func (r *run) ddlSession(ctx context.Context) (*sqlconn.Conn, error) {
	cfg := r.c.e.deps.Admin.WithDB("")
	cfg.Plain = true
	conn, err := sqlconn.Dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("session for DDL: %w", err)
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("SET NAMES utf8mb4, time_zone='+00:00', sql_mode='NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES', autocommit=1, completion_type=0, "+
		"default_storage_engine=InnoDB, foreign_key_checks=0, lock_wait_timeout=%d", ddlLockWait))
	if err == nil {
		err = r.lock(ctx, conn, r.guard.ddl())
	}
	if err == nil {
		err = r.alive(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("session for DDL: %w", err)
	}
	return conn, nil
}

// ddlJob is a statement as it is run on the target.
type ddlJob struct {
	sql     string
	objects []binlog.Object // that it changes, on the target
	models  []binlog.Object // that it refers to, or copies the definition of
}

// translate gives a statement the target's names. why says why that cannot be done.
func (r *run) translate(d *vstream.DDL) (job ddlJob, why string) {
	rules := &r.row.Source.Rules
	names := binlog.DDLNames(d.SQL, d.DB, d.Settings)
	var strange []string
	for _, n := range names {
		o, ok := r.place(d, n.Object)
		switch {
		case !ok && n.Table == "":
			strange = append(strange, "database "+n.DB)
		case !ok:
			strange = append(strange, n.DB+"."+n.Table)
		case n.Reference:
			job.models = append(job.models, o)
		default:
			job.objects = append(job.objects, o)
		}
	}
	effect := binlog.EffectOf(d.SQL, d.Settings)
	switch {
	case len(names) == 0:
		return job, "its names cannot be read"
	case len(job.objects) == 0: // nothing of it is here
		return ddlJob{}, ""
	case len(strange) > 0 && effect == binlog.DropsTables && job.objects[0].Table != "":
		job.sql = binlog.DropTables(job.objects)
		return job, ""
	case len(strange) > 0:
		return job, "it also names what is not replicated: " + strings.Join(strange, ", ")
	case job.objects[0].Table == "" && effect == binlog.DropsTables && rules.Qualified() && job.objects[0].DB != names[0].DB:
		return job, "it drops a database that has another name on the target, where others may use it"
	case effect == binlog.ReplacesRows:
		return job, "it replaces rows by others that the binlog does not tell"
	case effect == binlog.RemovesRows && len(r.writers(names[0].DB, names[0].Table)) > 0:
		return job, "it removes rows of a table into which other streams write too"
	}
	job.sql = binlog.Retarget(binlog.WithoutRows(d.SQL, d.Settings), binlog.DDLNames(binlog.WithoutRows(d.SQL, d.Settings), d.DB, d.Settings), func(n binlog.Name) binlog.Object {
		o, _ := r.place(d, n.Object)
		return o
	})
	return job, ""
}

// numbersOtherwise is an error if the rows of a table would get other numbers on the target than they have got on the source, from a statement that
// numbers them.
func (r *run) numbersOtherwise(ctx context.Context, conn *sqlconn.Conn, d *vstream.DDL, job ddlJob) error {
	added, changed := binlog.NumbersRows(job.sql, d.Settings)
	if !added && len(changed) == 0 {
		return nil
	}
	at := job.objects[0]
	defs, err := schema.Load(ctx, conn, at.DB, []string{at.Table})
	if errors.Is(err, schema.ErrNoTable) {
		return nil // the statement says so
	}
	if err != nil {
		return fmt.Errorf("DDL %s: %w", shorten(job.sql), err)
	}
	n := binlog.DDLNames(d.SQL, d.DB, d.Settings)[0]
	why := r.othersOrder(n.Object, defs[0])
	where := numberedWhere(defs[0], added, changed)
	if why == "" || where == "" {
		return nil
	}
	res, err := conn.Query(ctx, "SELECT 1 FROM "+quoted(at)+" WHERE "+where+" LIMIT 1")
	if err != nil {
		return fmt.Errorf("DDL %s: %w", shorten(job.sql), err)
	}
	if len(res.Rows) == 0 {
		return nil
	}
	name := r.row.Source.Rules.Name(n.DB, n.Table)
	makesKey := func(word string) bool { return strings.Contains(strings.ToUpper(job.sql), word) }
	keyless := len(defs[0].KeyColumns()) == 0 && !slices.ContainsFunc([]string{"PRIMARY", "UNIQUE", "SERIAL"}, makesKey)
	return permanent{errs.New(errs.DDLStopped, nil, "%s: it gives numbers to rows that are there, and they would not be the source's: %s; the statement of the source: %s", d.GTID, why, shorten(d.SQL)).With(
		fmt.Sprintf("copy the table again, which gives it the source's numbers; on the target: SET foreign_key_checks=0; TRUNCATE TABLE %s; %s;", quoted(at), strings.Join(forget(r.row.ID, name, keyless), "; ")),
		"then start the stream again: the statement is run on the empty table, and the table is copied")}
}

func quoted(o binlog.Object) string {
	return sqlconn.QuoteIdent(o.DB) + "." + sqlconn.QuoteIdent(o.Table)
}

// numberedWhere says which rows of a table get numbers; "" if none do. A column that has AUTO_INCREMENT keeps what it has.
func numberedWhere(def *schema.Table, added bool, changed []string) string {
	if added {
		return "TRUE"
	}
	var where []string
	for _, name := range changed {
		c := slices.IndexFunc(def.Columns, func(c schema.Column) bool { return strings.EqualFold(c.Name, name) })
		if c >= 0 && !def.Columns[c].AutoIncrement {
			column := sqlconn.QuoteIdent(name)
			where = append(where, column+" IS NULL OR "+column+"=0")
		}
	}
	return strings.Join(where, " OR ")
}

// othersOrder says why the rows of a table are not on the target as the source has them, in the order of the key.
func (r *run) othersOrder(source binlog.Object, def *schema.Table) string {
	rule := r.row.Source.Rules.Match(source.DB, source.Table)
	tc := r.copies[r.row.Source.Rules.Name(source.DB, source.Table)]
	switch {
	case len(def.KeyColumns()) == 0:
		return "the table has no key, so its rows are in another order here"
	case tc != nil && !tc.done:
		return "the copy of the table is not complete"
	case rule != nil && (rule.Where != "" || rule.Vindex != ""):
		return "only some of the source's rows are here"
	case r.row.Source.NonEmpty:
		return "there may be rows of others among them, as --allow-nonempty has said"
	}
	return ""
}

// swaps says that a statement gives names to tables that others of its tables had. If those look alike, nothing that is seen of them says
// afterwards whether it was run.
func swaps(job ddlJob, settings []byte) bool {
	if binlog.EffectOf(job.sql, settings) != binlog.RenamesTables || len(job.objects) <= 2 { // as those of an ALTER are
		return false
	}
	before, now := map[binlog.Object]bool{}, map[binlog.Object]bool{}
	for i := 0; i+1 < len(job.objects); i += 2 {
		from, to := job.objects[i], job.objects[i+1]
		if !now[from] {
			before[from] = true
		}
		delete(now, from)
		now[to] = true
	}
	return maps.Equal(before, now)
}

// witness returns two names of the sidecar, of which a table has the first. A RENAME is all or nothing, so one that also renames it shows whether it
// was run.
func (r *run) witness(ctx context.Context, conn *sqlconn.Conn) ([]binlog.Object, error) {
	names := witnesses(r.row.ID)
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='_braid' AND TABLE_NAME IN ('%s', '%s')", names[0].Table, names[1].Table))
	switch {
	case err != nil:
		return nil, err
	case len(res.Rows) == 0:
		_, err = conn.Exec(ctx, "CREATE TABLE _braid."+names[0].Table+" (id int PRIMARY KEY)")
	case string(res.Rows[0][0]) == names[1].Table:
		slices.Reverse(names)
	}
	return names, err
}

func witnesses(id int64) []binlog.Object {
	return []binlog.Object{{DB: "_braid", Table: fmt.Sprintf("swap_%d", id)}, {DB: "_braid", Table: fmt.Sprintf("swapped_%d", id)}}
}

// place is where an object of the source is on the target.
func (r *run) place(d *vstream.DDL, o binlog.Object) (binlog.Object, bool) {
	rules := &r.row.Source.Rules
	if o.Table == "" {
		if !rules.Qualified() {
			return binlog.Object{DB: r.row.DBName}, true
		}
		db, ok := rules.Database(o.DB)
		return binlog.Object{DB: db}, ok
	}
	rule := rules.Match(o.DB, o.Table)
	if rule == nil || r.called(d, o) == "" {
		return o, false
	}
	return binlog.Object{DB: targetDB(rule, o.DB, r.row.DBName), Table: target(rule, o.Table)}, true
}

// begunDDL says that an earlier run has run the statement already; else it writes down that this one will.
func (r *run) begunDDL(ctx context.Context, conn *sqlconn.Conn, d *vstream.DDL, job ddlJob) (bool, error) {
	before, err := definitions(ctx, conn, job.objects)
	if err != nil {
		return false, fmt.Errorf("DDL %s: %w", shorten(job.sql), err)
	}
	sum := sha256.Sum256([]byte(job.sql))
	want := intent{GTID: d.GTID, SQL: hex.EncodeToString(sum[:]), Before: before}
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT l.message, EXISTS (SELECT 1 FROM _braid.vreplication_log d WHERE d.vrepl_id=l.vrepl_id AND d.type='%s' AND d.id>l.id) "+
		"FROM _braid.vreplication_log l WHERE l.vrepl_id=%d AND l.type='%s' ORDER BY l.id DESC LIMIT 1", doneType, r.row.ID, intentType))
	if err != nil {
		return false, fmt.Errorf("read the stream's log: %w", err)
	}
	if len(res.Rows) > 0 {
		var last intent
		if err := json.Unmarshal(res.Rows[0][0], &last); err != nil {
			return false, permanent{fmt.Errorf("the stream's log: %w", err)}
		}
		switch done := string(res.Rows[0][1]) == "1"; {
		case last.GTID != want.GTID || last.SQL != want.SQL:
		case done && !d.Rows, // only the position was not saved
			done && last.Before != before: // nor the rows of CREATE TABLE … SELECT: what would take the table away has an intent of its own
			return true, nil
		case !done && last.Before != before:
			return true, r.ddlDone(ctx, d, job)
		case !done:
			return false, nil
		}
	}
	raw, err := json.Marshal(want)
	if err != nil {
		return false, err
	}
	return false, r.c.e.exec(ctx, logStatement(r.row.ID, intentType, r.row.State, string(raw)))
}

// definitions is a sum over what objects are now.
func definitions(ctx context.Context, conn *sqlconn.Conn, objects []binlog.Object) (string, error) {
	sum := sha256.New()
	for _, o := range objects {
		sql := "SHOW CREATE DATABASE " + sqlconn.QuoteIdent(o.DB)
		if o.Table != "" {
			sql = "SHOW CREATE TABLE " + sqlconn.QuoteIdent(o.DB) + "." + sqlconn.QuoteIdent(o.Table)
		}
		res, err := conn.Query(ctx, sql)
		switch code := sqlconn.ErrCode(err); {
		case code == 1049 || code == erNoSuchTable: // it is not there
			sum.Write([]byte("absent\x00"))
		case err != nil:
			return "", err
		default:
			sum.Write(append(res.Rows[0][1], 0))
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
