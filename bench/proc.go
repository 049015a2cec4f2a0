package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// clockTick is the unit of processor times in /proc: USER_HZ, which is 100 in every Linux.
const clockTick = 10 * time.Millisecond

// CPU is the processor time that a running process has taken, in user and kernel mode, in steps of 10 ms.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // proc(5) counts from 1, and two fields are cut off
	if len(fields) <= stime {
		return 0, fmt.Errorf("CPU time: /proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	var sum time.Duration
	for _, field := range [][]byte{fields[utime], fields[stime]} {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		sum += time.Duration(ticks) * clockTick
	}
	return sum, nil
}

// peakRSS is the most memory that a running process has had resident, in bytes. It belongs to the program, not to what started it, as
// getrusage's does.
func peakRSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	_, rest, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0, fmt.Errorf("resident memory: process %d has ended", pid)
	}
	kib, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	return kib << 10, nil
}

// RSSWatch follows the peak of a process that may end at any time.
type RSSWatch struct {
	stop chan struct{}
	wg   sync.WaitGroup
	peak int64
}

// WatchRSS reads the peak every 20 ms until Peak is called.
func WatchRSS(pid int) *RSSWatch {
	w := &RSSWatch{stop: make(chan struct{})}
	w.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if bytes, err := peakRSS(pid); err == nil { // an error: it has ended, and the value before stays
				w.peak = max(w.peak, bytes)
			}
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// Peak ends the watch and returns the most bytes seen.
func (w *RSSWatch) Peak() int64 {
	close(w.stop)
	w.wg.Wait()
	return w.peak
}
