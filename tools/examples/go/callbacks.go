// SPDX-License-Identifier: BSD-2-Clause

package singleflight

/*
#include <singleflight.h>
#include <stdint.h>

static inline uintptr_t value(const sflight_result *r) { return (uintptr_t)r->value; }
*/
import "C"

import "runtime/cgo"

// What the library calls back, on the thread of who ends a call; here it is Go that ends all of them.

//export goDeliver
func goDeliver(waiter C.uintptr_t, rc C.int, r *C.sflight_result) {
	wait := cgo.Handle(waiter).Value().(func(*outcome))
	cgo.Handle(waiter).Delete()
	o := &outcome{}
	if rc == 0 {
		o = cgo.Handle(C.value(r)).Value().(*outcome)
	} else {
		o.err = failure(rc)
	}
	C.sflight_result_release(r)
	wait(o)
}

//export goDestroy
func goDestroy(o C.uintptr_t) {
	cgo.Handle(o).Delete()
}
