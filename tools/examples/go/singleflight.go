// SPDX-License-Identifier: BSD-2-Clause

// Package singleflight has the API of golang.org/x/sync/singleflight, made with libsingleflight: Go and
// C code of one process could join each other's calls.
//
// A fn belongs to Go's scheduler, and may panic or end its goroutine: so none runs inside the library.
// A caller begins the call; who gets the permit runs fn in its own goroutine and then completes; for the
// others the library calls back, and no thread waits in C.
package singleflight

/*
#cgo pkg-config: singleflight
#include <singleflight.h>
#include <stdint.h>

// Handles are numbers, which Go must not meet as pointers.
extern void goDeliver(uintptr_t waiter, int rc, sflight_result *r);
extern void goDestroy(uintptr_t outcome);

static void deliver(void *arg, int rc, sflight_result *r) { goDeliver((uintptr_t)arg, rc, r); }
static void destroy(void *value, size_t size, void *ctx) { (void)size, (void)ctx, goDestroy((uintptr_t)value); }

static inline int begin(sflight_group *g, _GoString_ key, sflight_call **lead, sflight_future **join)
{
	return sflight_begin(g, _GoStringPtr(key), _GoStringLen(key), lead, join);
}
static inline int forget(sflight_group *g, _GoString_ key)
{
	return sflight_forget(g, _GoStringPtr(key), _GoStringLen(key));
}
static inline int then(sflight_future *f, uintptr_t waiter) { return sflight_future_then(f, deliver, (void *)waiter); }
static inline uint32_t complete(sflight_call *call, uintptr_t outcome)
{
	sflight_call_set(call, (void *)outcome, 0, destroy, NULL);
	return sflight_complete(call, 0);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"runtime/debug"
	"sync"
)

// Group is a namespace of keys.  Its zero value is ready for use; it must not be copied then.
type Group struct {
	once sync.Once
	own  *native
}

type native struct {
	c *C.sflight_group
}

// Result is what DoChan delivers.
type Result struct {
	Val    interface{}
	Err    error
	Shared bool
}

// outcome is what a fn came to; the value of the call in C is a handle of it.
type outcome struct {
	val      interface{}
	err      error
	panicked *panicError
	exited   bool // it has ended its goroutine
}

type panicError struct {
	value interface{}
	stack []byte
}

func (p *panicError) Error() string {
	return fmt.Sprintf("%v\n\n%s", p.value, p.stack)
}

func (p *panicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

func failure(rc C.int) error {
	return fmt.Errorf("singleflight: %s", C.GoString(C.sflight_strerror(rc)))
}

func (g *Group) native() *native {
	g.once.Do(func() {
		own := &native{}
		if rc := C.sflight_group_create(&own.c, nil); rc != 0 {
			panic(failure(rc))
		}
		runtime.SetFinalizer(own, func(own *native) { C.sflight_group_destroy(own.c) })
		g.own = own
	})
	return g.own
}

// begin returns a permit, or has wait called with the outcome of the call in flight.
func (g *Group) begin(key string, wait func(*outcome)) (*C.sflight_call, error) {
	own := g.native()
	defer runtime.KeepAlive(own)
	var lead *C.sflight_call
	var join *C.sflight_future
	if rc := C.begin(own.c, key, &lead, &join); rc != 0 {
		return nil, failure(rc)
	}
	if join != nil {
		waiter := cgo.NewHandle(wait)
		if rc := C.then(join, C.uintptr_t(waiter)); rc != 0 {
			waiter.Delete()
			C.sflight_future_drop(join)
			return nil, failure(rc)
		}
	}
	return lead, nil
}

// lead runs fn and ends the call, however fn is left.  Does not return if fn ends its goroutine.
func lead(g *native, call *C.sflight_call, fn func() (interface{}, error)) (o *outcome, shared bool) {
	o = &outcome{exited: true}
	defer func() {
		shared = C.complete(call, C.uintptr_t(cgo.NewHandle(o))) > 0
		runtime.KeepAlive(g)
	}()
	func() {
		defer func() {
			if p := recover(); p != nil {
				o.panicked = &panicError{p, debug.Stack()}
			}
		}()
		o.val, o.err = fn()
		o.exited = false
	}()
	if o.exited && o.panicked == nil {
		o.panicked = &panicError{nil, debug.Stack()} // panic(nil)
	}
	o.exited = false
	return
}

// Do runs fn, unless a call for this key is in flight: then it waits for that one's result.
// shared: somebody else got it, too.  A panic of fn, or runtime.Goexit, reaches every caller.
func (g *Group) Do(key string, fn func() (interface{}, error)) (v interface{}, err error, shared bool) {
	arrived := make(chan *outcome, 1)
	call, err := g.begin(key, func(o *outcome) { arrived <- o })
	if err != nil {
		return nil, err, false
	}
	var o *outcome
	if call != nil {
		o, shared = lead(g.own, call, fn)
	} else {
		o, shared = <-arrived, true
	}
	if o.panicked != nil {
		panic(o.panicked)
	}
	if o.exited {
		runtime.Goexit()
	}
	return o.val, o.err, shared
}

// DoChan is Do, but returns at once; the result comes by the channel, which is not closed.  A panic of fn
// cannot be recovered then, and after runtime.Goexit nothing comes.
func (g *Group) DoChan(key string, fn func() (interface{}, error)) <-chan Result {
	arrived := make(chan Result, 1)
	tell := func(o *outcome, shared bool) {
		if o.panicked != nil {
			go panic(o.panicked)
		} else if !o.exited {
			arrived <- Result{o.val, o.err, shared}
		}
	}
	call, err := g.begin(key, func(o *outcome) { tell(o, true) })
	if err != nil {
		arrived <- Result{nil, err, false}
	} else if call != nil {
		go func() { tell(lead(g.own, call, fn)) }()
	}
	return arrived
}

// Forget makes the next caller of the key run its fn, though a call is in flight.
func (g *Group) Forget(key string) {
	own := g.native()
	C.forget(own.c, key)
	runtime.KeepAlive(own)
}

// joined is how many callers have joined a call since the group was made.
func (g *Group) joined() int {
	var stats C.sflight_stats
	C.sflight_group_stats(g.native().c, &stats)
	return int(stats.joined)
}
