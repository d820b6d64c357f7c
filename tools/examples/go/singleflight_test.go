// SPDX-License-Identifier: BSD-2-Clause

package singleflight

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// awaitJoined returns when n callers have joined.
func awaitJoined(g *Group, n int) {
	for g.joined() != n {
		runtime.Gosched()
	}
}

func TestDoReturnsWhatFnDoes(t *testing.T) {
	var g Group
	v, err, shared := g.Do("key", func() (interface{}, error) { return "page", nil })
	if v != "page" || err != nil || shared {
		t.Error(v, err, shared)
	}
	v, err, _ = g.Do("key", func() (interface{}, error) { return nil, os.ErrNotExist })
	if v != nil || err != os.ErrNotExist {
		t.Error(v, err)
	}
}

func TestOneRunsForMany(t *testing.T) {
	const n = 100
	var g Group
	var runs, right int32
	var done sync.WaitGroup
	for i := 0; i < n; i++ {
		done.Add(1)
		go func() {
			defer done.Done()
			v, err, shared := g.Do("key", func() (interface{}, error) {
				atomic.AddInt32(&runs, 1)
				awaitJoined(&g, n-1)
				return 42, nil
			})
			if v == 42 && err == nil && shared {
				atomic.AddInt32(&right, 1)
			}
		}()
	}
	done.Wait()
	if runs != 1 || right != n {
		t.Error(runs, right)
	}
}

// blocked begins a call for the key that lasts until end is closed.
func blocked(g *Group, key string, value interface{}) (result <-chan Result, end chan struct{}) {
	end = make(chan struct{})
	began := make(chan struct{})
	result = g.DoChan(key, func() (interface{}, error) {
		close(began)
		<-end
		return value, nil
	})
	<-began
	return
}

func TestForgottenCallsAreNotJoined(t *testing.T) {
	var g Group
	first, endFirst := blocked(&g, "key", 1)
	g.Forget("key")
	second, endSecond := blocked(&g, "key", 2)
	third := g.DoChan("key", func() (interface{}, error) { return 3, nil })
	close(endFirst)
	if r := <-first; r != (Result{1, nil, false}) {
		t.Error("first:", r)
	}
	close(endSecond)
	if r := <-second; r != (Result{2, nil, true}) {
		t.Error("second:", r)
	}
	if r := <-third; r != (Result{2, nil, true}) {
		t.Error("third:", r)
	}
	g.Forget("nobody")
}

func TestDoChan(t *testing.T) {
	var g Group
	r := <-g.DoChan("key", func() (interface{}, error) { return "page", os.ErrClosed })
	if r != (Result{"page", os.ErrClosed, false}) {
		t.Error(r)
	}
}

// endings has n callers of Do, of whom the leader ends by how once all others wait: what each recovers.
func endings(n int, how func()) (recovered []interface{}, returned int) {
	var g Group
	var mutex sync.Mutex
	var done sync.WaitGroup
	for i := 0; i < n; i++ {
		done.Add(1)
		go func() {
			defer done.Done()
			defer func() {
				p := recover()
				mutex.Lock()
				recovered = append(recovered, p)
				mutex.Unlock()
			}()
			g.Do("key", func() (interface{}, error) {
				awaitJoined(&g, n-1)
				how()
				return nil, nil
			})
			mutex.Lock()
			returned++
			mutex.Unlock()
		}()
	}
	done.Wait()
	return
}

func TestPanicsReachAll(t *testing.T) {
	recovered, returned := endings(10, func() { panic(os.ErrInvalid) })
	for _, p := range recovered {
		err, isError := p.(error)
		if !isError || !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "goroutine") {
			t.Error(p)
		}
	}
	if len(recovered) != 10 || returned != 0 {
		t.Error(len(recovered), returned)
	}
	recovered, _ = endings(2, func() { panic(nil) })
	for _, p := range recovered {
		if _, isError := p.(error); !isError || errors.Unwrap(p.(error)) != nil {
			t.Error(p)
		}
	}
}

func TestGoexitReachesAll(t *testing.T) {
	recovered, returned := endings(10, runtime.Goexit)
	for _, p := range recovered {
		if p != nil {
			t.Error(p)
		}
	}
	if len(recovered) != 10 || returned != 0 {
		t.Error(len(recovered), returned)
	}
}

func TestAfterGoexitTheKeyIsFree(t *testing.T) {
	var g Group
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Do("key", func() (interface{}, error) { runtime.Goexit(); return nil, nil })
	}()
	<-ended
	if v, _, _ := g.Do("key", func() (interface{}, error) { return 1, nil }); v != 1 {
		t.Error(v)
	}
}

// crashes runs the named test of this file again, in a process that fatal() kills.
func crashes(t *testing.T, name string, fatal func()) {
	if os.Getenv("SINGLEFLIGHT_CRASH") != "" {
		defer func() { recover() }() // which does not help
		fatal()
		select {}
	}
	again := exec.Command(os.Args[0], "-test.run=^"+name+"$")
	again.Env = append(os.Environ(), "SINGLEFLIGHT_CRASH=1")
	said, err := again.CombinedOutput()
	if err == nil || !strings.Contains(string(said), "the engine is lost") {
		t.Errorf("%v\n%s", err, said)
	}
}

func TestPanicInDoChanIsFatal(t *testing.T) {
	crashes(t, "TestPanicInDoChanIsFatal", func() {
		var g Group
		<-g.DoChan("key", func() (interface{}, error) { panic("the engine is lost") })
	})
}

func TestPanicThatDoChanSharesIsFatal(t *testing.T) {
	crashes(t, "TestPanicThatDoChanSharesIsFatal", func() {
		var g Group
		joined := make(chan struct{})
		go func() {
			defer func() { recover() }()
			g.Do("key", func() (interface{}, error) {
				close(joined)
				awaitJoined(&g, 1)
				panic("the engine is lost")
			})
		}()
		<-joined
		<-g.DoChan("key", func() (interface{}, error) { return nil, nil })
	})
}

func TestManyKeysAtOnce(t *testing.T) {
	var g Group
	var done sync.WaitGroup
	var wrong int32
	for i := 0; i < 8; i++ {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			for n := 0; n < 2000; n++ {
				key := fmt.Sprint((n + i) % 5)
				v, err, _ := g.Do(key, func() (interface{}, error) {
					runtime.Gosched()
					return key, nil
				})
				if v != key || err != nil {
					atomic.AddInt32(&wrong, 1)
				}
			}
		}(i)
	}
	done.Wait()
	if wrong != 0 {
		t.Error(wrong)
	}
}

func ExampleGroup() {
	var g Group
	first, end := blocked(&g, "key", "the first result")
	second := g.DoChan("key", func() (interface{}, error) { return "not run", nil })
	close(end)
	a, b := <-first, <-second
	fmt.Println(a.Val, a.Shared)
	fmt.Println(b.Val, b.Shared)
	// Output:
	// the first result true
	// the first result true
}
