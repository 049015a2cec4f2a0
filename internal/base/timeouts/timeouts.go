package timeouts

import "time"

const (
	// TabletLease is how long a dead tablet stays in the topology. Short enough that an operator sees a death within
	// seconds, long enough that a garbage collection or a slow disk is not one.
	TabletLease = 5 * time.Second

	// LeaderLease bounds how long a dead controller blocks its successor. A cutover that its death interrupted waits that
	// long with writes held, so it must stay well under GateHold.
	LeaderLease = 4 * time.Second

	// KeyspaceLock is the time to live of the lock that a cutover holds on a keyspace; it is renewed while the holder lives.
	KeyspaceLock = 10 * time.Second

	// GateHold is how long a gate holds a write behind a fence before the application sees an error. It covers the takeover
	// of a cutover by another controller (LeaderLease) and the restart of a mysqld in the middle of one.
	GateHold = 60 * time.Second

	// Topology bounds one operation on the topology. An etcd that elects a new leader answers again within two seconds; what
	// takes longer is an outage, and the caller is told so.
	Topology = 5 * time.Second

	// FenceDrain is how long open transactions may go on after a fence was set; then they are killed.
	FenceDrain = 3 * time.Second

	// CatchUp is how long writes stay held for the targets to reach the source's position before the cutover is undone.
	CatchUp = 30 * time.Second

	// Quiesce is how long a stream may take, when its process is told to end, to commit what it has received: service managers
	// kill after 90 seconds, container runtimes after ten to thirty.
	Quiesce = 8 * time.Second

	// Dial bounds one attempt to connect, on a network that works or does not.
	Dial = 5 * time.Second

	// RPC bounds one unary call between daemons; a call that waits for something carries its own deadline.
	RPC = 15 * time.Second

	// StreamHeartbeat is the period of heartbeats on an idle stream: the resolution of lag.
	StreamHeartbeat = 500 * time.Millisecond

	// StreamSilence ends a stream that has not even sent heartbeats, or that it lives: the peer is gone without a word.
	StreamSilence = 10 * time.Second

	// SourceGone is how long a source may not be heard before its streams end with the reason. A mysqld that is restarted is back
	// within it, and its streams go on by themselves.
	SourceGone = 30 * time.Second

	// ReplicaBehind is how long a stream that begins waits for a replica to have its position, before another tablet is tried: copying from the primary is
	// worse than a pause. It must stay under StreamSilence.
	ReplicaBehind = 5 * time.Second

	// HubGrace is how long the connection to a source stays when its last stream has ended: streams that are stopped and started
	// again find it.
	HubGrace = 2 * time.Second

	// ScanPatience is how long the streams of a workflow wait for one of them, with which they share the reading of chunks, that does not move:
	// longer than a target needs for a chunk when its disk stalls, short beside reading a large table twice. ScanForgives is when one that
	// did not come to a range is waited for again.
	ScanPatience = 8 * time.Second
	ScanForgives = 30 * time.Second

	// ScanGather is how long after a workflow's newest stream the first chunks wait for more of them, where those that are there want only a part
	// of the rows: a stream that starts again is back within it (RetryMax). ScanReturn is how long they wait for one that has
	// ended in the middle of a copy.
	ScanGather = 4 * time.Second
	ScanReturn = 10 * time.Second

	// ScanOpen is how long a reader waits for a stream to open its window, which it does between two transactions while its target takes what
	// it sends: longer than a stall of a target's disk usually is. Who comes later reads the chunk again for itself.
	ScanOpen = 4 * time.Second

	// ReaderIdle is how long a session that has read chunks stays open for the next.
	ReaderIdle = 5 * time.Second

	// SnapshotLock is how long opening the read view of a table without a key may wait for those who write to it. Others queue behind that.
	SnapshotLock = 3 * time.Second

	// IndexLockWait is how long an ALTER that adds an index to a copied table waits for those who use the table: everybody else waits behind it, the
	// stream's changes too. One whose index was built when it had to wait again waits for a tenth of what that took, IndexLockWaitMax at most.
	// IndexPauseMin and IndexPauseMax bound the pause before it is tried again.
	IndexLockWait    = time.Second
	IndexLockWaitMax = 10 * time.Second
	IndexPauseMin    = 2 * time.Second
	IndexPauseMax    = 10 * time.Second

	// RetryMin and RetryMax bound the pause between attempts, with jitter.
	RetryMin = 50 * time.Millisecond
	RetryMax = 3 * time.Second

	// MaxLag is the lag above which a switch of writes is refused: writes would be held for at least that long.
	MaxLag = 10 * time.Second

	// MySQLStart and MySQLStop bound the start and the clean stop of a mysqld.
	MySQLStart = 90 * time.Second
	MySQLStop  = 30 * time.Second

	// EtcdStart bounds the start of the embedded etcd: it elects itself within two seconds, and reads its log before.
	EtcdStart = 20 * time.Second

	// DaemonStart bounds the start of a daemon of ours under a supervisor: it may have to wait for its etcd or its mysqld.
	DaemonStart = 60 * time.Second

	// DeathWindow is how long a supervisor remembers a death: a process that dies again and again within it is beyond help.
	DeathWindow = time.Minute

	// DeathThroes is how long the kernel may take to end killed processes and free their ports.
	DeathThroes = 3 * time.Second

	// Shutdown is how long a daemon may take to end after it was asked; then its supervisor kills it.
	Shutdown = 10 * time.Second
)
