package workflow

import "time"

// Stage is a step of a verb.
type Stage string

// The stages. Those of a cutover stand in the order in which they follow each other.
const (
	StageAnnounce Stage = "announce"
	StageSchema   Stage = "schema"
	StageStreams  Stage = "streams"
	StageStart    Stage = "start"
	StageStop     Stage = "stop"

	StageCheck    Stage = "check"
	StageLock     Stage = "lock"
	StageFence    Stage = "fence"
	StageCatchUp  Stage = "catch-up"
	StageHandOver Stage = "hand-over"
	StageJournal  Stage = "journal"
	StageDecide   Stage = "decide"
	StageRoute    Stage = "route"
	StageFinish   Stage = "finish"
	StageUndo     Stage = "undo"

	StageRetire     Stage = "retire"
	StageDropSource Stage = "drop-source"
	StageUnroute    Stage = "unroute"
	StageDropTarget Stage = "drop-target"

	// StageDone names the write of a state at rest. No verb stands there.
	StageDone Stage = "done"
)

// stage says what happens at a stage: its effects, and where success and failure lead.
type stage struct {
	// durable: the state is written before the effects run (see doc.go for why, stage by stage).
	durable bool
	// fenced: the routing holds writes.
	fenced bool
	// work names the effects, where that differs from the stage: "fence" is the write, "drain" what follows it.
	work    string
	effects func(*State) []Effect
	done    func(*State, time.Time, []Result)
	failed  func(*State, time.Time, error, []Result)
}

var stages map[Stage]stage

func init() { // a literal would be an initialization cycle: stages lead to stages
	stages = map[Stage]stage{
		StageAnnounce: {durable: true, effects: (*State).announceEffects, done: (*State).announceDone, failed: (*State).createFailed},
		StageSchema:   {effects: (*State).schemaEffects, done: (*State).schemaDone, failed: (*State).createFailed},
		StageStreams:  {effects: (*State).streamsEffects, done: (*State).streamsDone, failed: (*State).createFailed},
		StageStart:    {durable: true, effects: (*State).startEffects, done: (*State).startDone, failed: (*State).again},
		StageStop:     {durable: true, effects: (*State).stopEffects, done: (*State).stopDone, failed: (*State).again},

		StageCheck:    {durable: true, effects: (*State).checkEffects, done: (*State).checkDone, failed: (*State).refuse},
		StageLock:     {effects: (*State).lockEffects, done: (*State).lockDone, failed: (*State).refuse},
		StageFence:    {durable: true, fenced: true, work: "drain", effects: (*State).fenceEffects, done: (*State).fenceDone, failed: (*State).undo},
		StageCatchUp:  {fenced: true, effects: (*State).catchUpEffects, done: (*State).catchUpDone, failed: (*State).undo},
		StageHandOver: {fenced: true, effects: (*State).handOverEffects, done: (*State).handOverDone, failed: (*State).undo},
		StageJournal:  {fenced: true, effects: (*State).journalEffects, done: (*State).journalDone, failed: (*State).journalFailed},
		StageDecide:   {durable: true, fenced: true, effects: (*State).decideEffects, done: (*State).decided, failed: (*State).decideFailed},
		StageRoute:    {durable: true, work: "settle", effects: (*State).routeEffects, done: (*State).routeDone, failed: (*State).again},
		StageFinish:   {effects: (*State).finishEffects, done: (*State).finishDone, failed: (*State).finishFailed},
		StageUndo:     {durable: true, work: "restore", effects: (*State).undoEffects, done: (*State).undoDone, failed: (*State).again},

		StageRetire:     {durable: true, effects: (*State).retireEffects, done: (*State).retireDone, failed: (*State).again},
		StageDropSource: {effects: (*State).dropSourceEffects, done: (*State).completeDone, failed: (*State).dropSourceFailed},
		StageUnroute:    {durable: true, effects: (*State).unrouteEffects, done: (*State).unrouteDone, failed: (*State).again},
		StageDropTarget: {effects: (*State).dropTargetEffects, done: (*State).cancelDone, failed: (*State).dropTargetFailed},
	}
}

// Stages lists every stage of every verb, for those who want to fail at each of them.
func Stages() []Stage {
	return []Stage{StageAnnounce, StageSchema, StageStreams, StageStart, StageStop, StageCheck, StageLock, StageFence, StageCatchUp, StageHandOver,
		StageJournal, StageDecide, StageRoute, StageFinish, StageUndo, StageRetire, StageDropSource, StageUnroute, StageDropTarget}
}

// Durable reports whether a state at this stage must be written before its effects run.
func (s Stage) Durable() bool { return stages[s].durable }

// Fenced reports whether writes are held at this stage.
func (s Stage) Fenced() bool { return stages[s].fenced }

// Work names what is done at the stage after it was written.
func (s Stage) Work() string {
	if w := stages[s].work; w != "" {
		return w
	}
	return string(s)
}

// Abortable reports whether the stage's effects are given up as soon as one of them fails or a keyspace's lock is lost:
// writes are held, and all will be undone. From the journal on there is only one way.
func (s Stage) Abortable() bool {
	return s == StageFence || s == StageCatchUp || s == StageHandOver
}

// Volatile reports whether the state needs no write before its effects run. A state at rest is never volatile.
func (s State) Volatile() bool { return s.Verb != nil && !stages[s.Verb.Stage].durable }
