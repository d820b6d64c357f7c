// SPDX-License-Identifier: BSD-2-Clause

// The benchmarks' questions, put to Go and its golang.org/x/sync/singleflight.
// The columns are those of bench/lib; threads are goroutines.
//
//	flight --out DIR --trace FILE QUESTION...
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/codahale/hdrhistogram"
	"golang.org/x/sync/singleflight"
)

var (
	outDir    = flag.String("out", "", "a directory for go-QUESTION.csv and .json")
	rounds    = flag.Int("rounds", 15, "rounds that count")
	roundMs   = flag.Float64("round-ms", 4, "how long a round should last")
	max       = flag.Float64("max", 0, "the largest case")
	smoke     = flag.Bool("smoke", false, "one short round of small cases")
	traceFile = flag.String("trace", "", "the trace, unpacked")
)

type row struct {
	Question   string  `json:"question"`
	Case       string  `json:"case"`
	X          float64 `json:"x"`
	Subject    string  `json:"subject"`
	Metric     string  `json:"metric"`
	Unit       string  `json:"unit"`
	Min        float64 `json:"min"`
	Q1         float64 `json:"q1"`
	Median     float64 `json:"median"`
	Q3         float64 `json:"q3"`
	Spread     float64 `json:"spread"`
	P50        float64 `json:"p50_ns"`
	P90        float64 `json:"p90_ns"`
	P99        float64 `json:"p99_ns"`
	P999       float64 `json:"p999_ns"`
	Max        float64 `json:"max_ns"`
	Rounds     int     `json:"rounds"`
	Operations uint64  `json:"operations"`
}

var (
	question string
	rows     []row
)

func check(ok bool, what string) {
	if !ok {
		panic("not so: " + what)
	}
}

// ------------------------------------------------------------------- rounds

// Whoever measures single operations records them here.
type samples struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newSamples() *samples {
	return &samples{h: hdrhistogram.New(1, int64(100*time.Second), 2)}
}

func (s *samples) add(ns []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range ns {
		s.h.RecordValue(v)
	}
}

type round struct {
	n       int           // in: operations, if the case is sized
	length  time.Duration // in: how long to go on, if not
	latency *samples
	done    uint64     // out
	value   [3]float64 // out
}

type metric struct{ name, unit string }

func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// One case: a warm-up, then the rounds.
func run(label string, x float64, sized bool, fewer int, longer float64, metrics []metric, one func(*round)) {
	length := time.Duration(*roundMs * 1e6 * longer)
	n, count := 64, *rounds/fewer+1
	if fewer == 1 {
		count = *rounds
	}
	if *smoke {
		count, length = 1, time.Millisecond
	}
	for !*smoke {
		begin := time.Now()
		one(&round{n: n, length: length, latency: newSamples()})
		part := float64(time.Since(begin)) / float64(length)
		if !sized || part > 0.7 {
			break
		}
		n = int(math.Min(float64(n)*8, float64(n)/part+1))
	}
	values := make([][]float64, len(metrics))
	latency, done := newSamples(), uint64(0)
	for i := 0; i < count; i++ {
		r := round{n: n, length: length, latency: latency}
		one(&r)
		done += r.done
		for m := range metrics {
			values[m] = append(values[m], r.value[m])
		}
	}
	for m, v := range values {
		sort.Float64s(v)
		r := row{question, label, x, "go", metrics[m].name, metrics[m].unit, v[0], quantile(v, 0.25),
			quantile(v, 0.5), quantile(v, 0.75),
			0, 0, 0, 0, 0, 0, count, done}
		if r.Median > 0 {
			r.Spread = (r.Q3 - r.Q1) / r.Median
		}
		if m == 0 && latency.h.TotalCount() > 0 {
			at := func(percent float64) float64 { return float64(latency.h.ValueAtQuantile(percent)) }
			r.P50, r.P90, r.P99, r.P999 = at(50), at(90), at(99), at(99.9)
			r.Max = float64(latency.h.Max())
		}
		rows = append(rows, r)
		fmt.Printf("%-16s %9.0f %-13s %-8s %-5s %10.5g %10.5g %6.1f%% %9.0f %9.0f %9.0f %10.0f %8s\n",
			label, x, "go", r.Metric, r.Unit, r.Min, r.Median, 100*r.Spread, r.P50, r.P99, r.P999, r.Max, "-")
	}
}

func write() {
	if *outDir == "" {
		return
	}
	base := filepath.Join(*outDir, "go-"+question)
	csv := "question,case,x,subject,metric,unit,min,q1,median,q3,spread,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,rounds,operations\n"
	for _, r := range rows {
		csv += fmt.Sprintf("%s,%s,%g,%s,%s,%s,%.6g,%.6g,%.6g,%.6g,%.6g,%g,%g,%g,%g,%g,%d,%d\n", r.Question, r.Case, r.X,
			r.Subject, r.Metric, r.Unit, r.Min, r.Q1, r.Median, r.Q3, r.Spread, r.P50, r.P90, r.P99, r.P999, r.Max,
			r.Rounds, r.Operations)
	}
	text, err := json.MarshalIndent(map[string]interface{}{"question": question, "go": runtime.Version(),
		"cpus": runtime.NumCPU(), "rows": rows}, "", "  ")
	check(err == nil, "rows as JSON")
	check(os.WriteFile(base+".csv", []byte(csv), 0o666) == nil, "written "+base+".csv")
	check(os.WriteFile(base+".json", append(text, '\n'), 0o666) == nil, "written "+base+".json")
}

func wants(x, small float64) bool {
	return (*max == 0 || x <= *max) && (!*smoke || x <= small)
}

// --------------------------------------------------------------------- load

func key(i int) string { return fmt.Sprintf("prod:%08d", i) }

func compute(d time.Duration) {
	if d > 0 {
		for end := time.Now().Add(d); time.Now().Before(end); {
		}
	}
}

// n goroutines that run calls as fast as they can; next says which.
func load(r *round, n int, fnTime time.Duration, sleeps bool, next func(goroutine, i int) (string, bool)) {
	var (
		g             singleflight.Group
		stopped       int32
		calls, runs   uint64
		start, finish sync.WaitGroup
	)
	start.Add(1)
	for k := 0; k < n; k++ {
		finish.Add(1)
		go func(k int) {
			defer finish.Done()
			var own []int64
			var nCalls, nRuns uint64
			start.Wait()
			for i := 0; atomic.LoadInt32(&stopped) == 0; i++ {
				name, more := next(k, i)
				if !more {
					break
				}
				sampled := (fnTime >= time.Microsecond || i%16 == 0) && len(own) < 2048
				var begin time.Time
				if sampled {
					begin = time.Now()
				}
				v, err, _ := g.Do(name, func() (interface{}, error) {
					nRuns++
					if sleeps {
						time.Sleep(fnTime)
					} else {
						compute(fnTime)
					}
					return name, nil
				})
				if err != nil || v.(string) != name {
					panic("not so: the value of its key")
				}
				nCalls++
				if sampled {
					own = append(own, int64(time.Since(begin)))
				}
			}
			atomic.AddUint64(&calls, nCalls)
			atomic.AddUint64(&runs, nRuns)
			r.latency.add(own)
		}(k)
	}
	begin := time.Now()
	start.Done()
	if r.length > 0 {
		time.Sleep(r.length)
		atomic.StoreInt32(&stopped, 1)
	}
	finish.Wait()
	took := time.Since(begin)
	check(runs >= 1 && runs <= calls, "fn was run, at most once a call")
	r.done = calls
	r.value[0] = float64(took) / float64(calls)
	r.value[1] = 100 * float64(runs) / float64(calls)
	r.value[2] = float64(runs)
}

var loadMetrics = []metric{{"call", "ns"}, {"runs", "%"}}

// ---------------------------------------------------------------- questions

func uncontended() {
	for _, length := range []int{13, 100} {
		var g singleflight.Group
		keys := make([]string, 64)
		for i := range keys {
			keys[i] = fmt.Sprintf("product:%05d%0*d", i*1543%100000, length-13, i)[:length]
		}
		run("key bytes", float64(length), true, 1, 1, []metric{{"call", "ns"}}, func(r *round) {
			runs := 0
			var own []int64
			begin := time.Now()
			for i := 0; i < r.n; i++ {
				var from time.Time
				if i%64 == 0 {
					from = time.Now()
				}
				v, err, _ := g.Do(keys[i%64], func() (interface{}, error) { runs++; return r, nil })
				if err != nil || v.(*round) != r {
					panic("not so: the value")
				}
				if i%64 == 0 && len(own) < 2048 {
					own = append(own, int64(time.Since(from)))
				}
			}
			r.value[0] = float64(time.Since(begin)) / float64(r.n)
			r.done = uint64(r.n)
			check(runs == r.n, "each call ran fn")
			r.latency.add(own)
		})
	}
}

func disjoint() {
	most := runtime.NumCPU()
	if *max != 0 {
		most = int(*max)
	}
	for n := 1; n <= most && wants(float64(n), 2); {
		keys := make([]string, n*16)
		for i := range keys {
			keys[i] = key(i)
		}
		run("threads", float64(n), false, 1, 1+float64(n)/64, loadMetrics, func(r *round) {
			load(r, n, 0, false, func(k, i int) (string, bool) { return keys[k*16+i%16], true })
			check(r.value[1] == 100, "everybody led")
		})
		if n < most && 2*n > most {
			n = most
		} else {
			n *= 2
		}
	}
}

func hotkey() {
	for n := 2; wants(float64(n), 8) && (*max != 0 || n <= 256); n *= 2 {
		for _, us := range []int{0, 1, 10, 100} {
			run(fmt.Sprintf("fn %d us", us), float64(n), false, 1, 1+float64(n)/64, loadMetrics, func(r *round) {
				load(r, n, time.Duration(us)*time.Microsecond, false,
					func(k, i int) (string, bool) { return "prod:00000042", true })
			})
		}
	}
}

func zipf() {
	const nKeys, nOrder = 100000, 1 << 18
	keys, sums, order := make([]string, nKeys), make([]float64, nKeys), make([]string, nOrder)
	sum := 0.0
	for i := range keys {
		keys[i] = key(i)
		sum += math.Pow(float64(i+1), -0.99)
		sums[i] = sum
	}
	random := rand.New(rand.NewSource(1))
	for i := range order {
		order[i] = keys[sort.SearchFloat64s(sums, random.Float64()*sum)]
	}
	for n := 1; wants(float64(n), 8) && (*max != 0 || n <= 256); n *= 4 {
		run("threads", float64(n), false, 1, 1+float64(n)/64, loadMetrics, func(r *round) {
			load(r, n, time.Microsecond, false, func(k, i int) (string, bool) {
				return order[(k*(nOrder/n)+i)%nOrder], true
			})
		})
	}
}

func trace() {
	data, err := os.ReadFile(*traceFile)
	check(err == nil, "--trace FILE can be read")
	keys := make([]string, len(data)/4)
	for i := range keys {
		keys[i] = key(int(binary.BigEndian.Uint32(data[4*i:])) % 100000000)
	}
	if *smoke {
		keys = keys[:2000]
	}
	run("threads", 64, false, 2, 1, []metric{{"all", "ms"}, {"runs", ""}}, func(r *round) {
		var next int64
		r.length = 0
		load(r, 64, 200*time.Microsecond, true, func(k, i int) (string, bool) {
			at := atomic.AddInt64(&next, 1) - 1
			if at >= int64(len(keys)) {
				return "", false
			}
			return keys[at], true
		})
		check(r.done == uint64(len(keys)), "every page was delivered")
		r.value[0] *= float64(r.done) / 1e6
		r.value[1] = r.value[2]
	})
}

// n goroutines wait for one call that ends.
func herdRound(n int) func(r *round) {
	var again func(r *round)
	again = func(r *round) {
		var (
			g       singleflight.Group
			arrived int64
			late    int32
			end     time.Time
			finish  sync.WaitGroup
		)
		ends := make([]int64, n)
		v, err, shared := g.Do("key", func() (interface{}, error) {
			for k := 0; k < n; k++ {
				finish.Add(1)
				go func(k int) {
					defer finish.Done()
					atomic.AddInt64(&arrived, 1)
					v, err, _ := g.Do("key", func() (interface{}, error) {
						atomic.StoreInt32(&late, 1) // it had not come so far
						return 42, nil
					})
					if err != nil || v.(int) != 42 {
						panic("not so: the value")
					}
					ends[k] = int64(time.Since(end))
				}(k)
			}
			for atomic.LoadInt64(&arrived) < int64(n) {
				time.Sleep(100 * time.Microsecond)
			}
			time.Sleep(2 * time.Millisecond) // all are asleep
			end = time.Now()
			return 42, nil
		})
		held := time.Since(end)
		check(err == nil && v.(int) == 42, "the leader's result")
		finish.Wait()
		if late != 0 {
			again(r)
			return
		}
		check(shared, "all joined")
		last := int64(0)
		for _, ns := range ends {
			if ns > last {
				last = ns
			}
		}
		r.latency.add(ends)
		r.done = uint64(n)
		r.value = [3]float64{float64(last) / 1000, float64(held) / 1000, float64(last) / float64(n)}
	}
	return again
}

func herd() {
	for _, n := range []int{16, 64, 256, 512, 1024, 4096} {
		if !wants(float64(n), 64) {
			break
		}
		run("waiters", float64(n), false, 1, 1, []metric{{"last", "us"}, {"hold", "us"}, {"waiter", "ns"}}, herdRound(n))
	}
}

// Goroutines on so many threads.
func fibers() {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i, label := range []string{"1 thread", "2 threads"} {
		runtime.GOMAXPROCS(i + 1)
		for n := 100; wants(float64(n), 1000) && n <= 10000; n *= 10 {
			one := herdRound(n)
			run(label, float64(n), false, 1, 1, []metric{{"fiber", "ns"}, {"last", "us"}}, func(r *round) {
				one(r)
				r.value = [3]float64{r.value[2], r.value[0]}
			})
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func timeouts() {
	for n := 1; wants(float64(n), 4) && (*max != 0 || n <= 256); n *= 4 {
		run("asleep", float64(n), false, 1, 5, []metric{{"cpu", "ns"}}, func(r *round) {
			var (
				g       singleflight.Group
				stopped int32
				total   uint64
				finish  sync.WaitGroup
			)
			block := make(chan bool)
			ended := g.DoChan("key", func() (interface{}, error) { <-block; return 42, nil })
			before := cpuTime()
			for k := 0; k < n; k++ {
				finish.Add(1)
				go func() {
					defer finish.Done()
					var own []int64
					for atomic.LoadInt32(&stopped) == 0 {
						end := time.Now().Add(2 * time.Millisecond)
						timer := time.NewTimer(2 * time.Millisecond)
						select {
						case <-g.DoChan("key", func() (interface{}, error) { panic("a waiter leads") }):
							panic("a result")
						case <-timer.C:
						}
						own = append(own, int64(time.Since(end)))
					}
					atomic.AddUint64(&total, uint64(len(own)))
					r.latency.add(own)
				}()
			}
			time.Sleep(r.length)
			atomic.StoreInt32(&stopped, 1)
			finish.Wait()
			r.value[0] = float64(cpuTime()-before) / float64(total)
			r.done = total
			close(block)
			check((<-ended).Val.(int) == 42, "the call's own result")
		})
	}
}

// A call that is in flight until told to end.
type flight struct {
	end    chan bool
	result <-chan singleflight.Result
}

func begin(g *singleflight.Group, key string) flight {
	f := flight{end: make(chan bool)}
	f.result = g.DoChan(key, func() (interface{}, error) { <-f.end; return key, nil })
	return f
}

func (f flight) finish(key string) {
	close(f.end)
	if (<-f.result).Val.(string) != key {
		panic("not so: the value of its key")
	}
}

func inflight() {
	most := 100000 // a goroutine for each: more take gigabytes
	if *smoke {
		most = 1000
	}
	if *max != 0 {
		most = int(*max)
	}
	keys := make([]string, 2*most)
	for i := range keys {
		keys[i] = key(i * 7919 % 100000000)
	}
	for n := 1; n <= most; n *= 10 {
		var g singleflight.Group
		flights := make([]flight, n)
		for i := range flights {
			flights[i] = begin(&g, keys[i])
		}
		at := 0
		run("steady", float64(n), true, 1, 1, []metric{{"call", "ns"}}, func(r *round) {
			from := time.Now()
			for i := 0; i < r.n; i++ {
				flights[at%n].finish(keys[at%(2*n)])
				flights[at%n] = begin(&g, keys[(at+n)%(2*n)])
				at++
			}
			r.value[0] = float64(time.Since(from)) / float64(r.n)
			r.done = uint64(r.n)
		})
		for i := 0; i < n; i++ {
			flights[at%n].finish(keys[at%(2*n)])
			at++
		}
	}
}

func churn() {
	for n := 1; wants(float64(n), 10) && n <= 100; n *= 10 {
		var g singleflight.Group
		run("calls", float64(n), true, 1, 1, []metric{{"thread", "us"}}, func(r *round) {
			from, done, runs := time.Now(), make(chan bool), 0
			for i := 0; i < r.n; i++ {
				go func() {
					for k := 0; k < n; k++ {
						v, _, _ := g.Do("key", func() (interface{}, error) { runs++; return 42, nil })
						if v.(int) != 42 {
							panic("not so: the value")
						}
					}
					done <- true
				}()
				<-done
			}
			r.value[0] = float64(time.Since(from)) / float64(r.n) / 1000
			r.done = uint64(r.n)
			check(runs == r.n*n, "each call ran fn")
		})
	}
}

func allocated() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

func memory() {
	most := 100000
	if *smoke {
		most = 1000
	}
	for n := 1000; n <= most; n *= 10 {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = key(i * 7919 % 100000000)
		}
		flights := make([]flight, n)
		run("call", float64(n), false, 4, 1, []metric{{"bytes", "B"}}, func(r *round) {
			var g singleflight.Group
			before := allocated()
			for i := range flights {
				flights[i] = begin(&g, keys[i])
			}
			r.value[0] = (allocated() - before) / float64(n)
			r.done = uint64(n)
			for i, f := range flights {
				f.finish(keys[i])
			}
		})
	}
}

func waiters() {
	for n := 1; wants(float64(n), 1000) && n <= 100000; n *= 10 {
		run("1 thread", float64(n), false, 1, 1, []metric{{"waiter", "ns"}}, func(r *round) {
			calls := 1
			if n < 1000 {
				calls = 1000 / n
			}
			var g singleflight.Group
			results := make([]<-chan singleflight.Result, n)
			from := time.Now()
			for c := 0; c < calls; c++ {
				end := make(chan bool)
				leader := g.DoChan("key", func() (interface{}, error) { <-end; return 42, nil })
				for i := range results {
					results[i] = g.DoChan("key", func() (interface{}, error) { panic("a waiter leads") })
				}
				close(end)
				for _, result := range results {
					if (<-result).Val.(int) != 42 {
						panic("not so: the value")
					}
				}
				<-leader
			}
			r.done = uint64(calls * n)
			r.value[0] = float64(time.Since(from)) / float64(r.done)
		})
	}
}

func main() {
	questions := map[string]func(){"uncontended": uncontended, "disjoint": disjoint, "hotkey": hotkey,
		"zipf": zipf, "trace": trace, "herd": herd, "timeouts": timeouts, "inflight": inflight,
		"churn": churn, "memory": memory, "waiters": waiters, "fibers": fibers}
	var names []string
	for name := range questions {
		names = append(names, name)
	}
	sort.Strings(names)
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: %s [OPTION...] QUESTION...\nquestions: %s\n", os.Args[0],
			strings.Join(names, " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	for _, question = range flag.Args() {
		ask := questions[question]
		if ask == nil {
			flag.Usage()
			os.Exit(2)
		}
		rows = nil
		ask()
		write()
	}
}
