// SPDX-License-Identifier: BSD-2-Clause
//! One execution for all who ask at the same moment: libsingleflight, by what bindgen makes of its header.
//!
//! ```text
//! bindgen singleflight.h --allowlist-function 'sflight_.*' --allowlist-type 'sflight_.*' \
//!     --allowlist-var 'SFLIGHT_.*' -o $OUT_DIR/bindings.rs
//! ```
//!
//! The value of a call in C is an Arc, so what a caller gets may outlive the group.  No panic may leave a
//! function that C calls: it is caught, the call is abandoned, and the panic goes on in its own thread.

use std::any::Any;
use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{forget, size_of, MaybeUninit};
use std::os::raw::{c_int, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::null_mut;
use std::sync::Arc;

#[allow(dead_code, deref_nullptr, non_camel_case_types, non_upper_case_globals, clippy::all)]
pub mod c {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// A code of the library, negative.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(pub c_int);

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = unsafe { CStr::from_ptr(c::sflight_strerror(self.0)) };
        write!(f, "{} ({})", text.to_string_lossy(), self.0)
    }
}

fn check(rc: c_int) -> Result<(), Error> {
    if rc < 0 { Err(Error(rc)) } else { Ok(()) }
}

/// A namespace of keys, whose calls make a T.
pub struct Group<T> {
    group: *mut c::sflight_group,
    of: PhantomData<Arc<T>>,
}

// Any thread may call, lead, and drop the last T.
unsafe impl<T: Send + Sync> Send for Group<T> {}
unsafe impl<T: Send + Sync> Sync for Group<T> {}

struct Work<F> {
    f: Option<F>,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn run<T, F: FnOnce() -> T>(call: *mut c::sflight_call, work: *mut c_void) -> c_int {
    let work = &mut *(work as *mut Work<F>);
    match catch_unwind(AssertUnwindSafe(work.f.take().unwrap())) {
        Ok(value) => set(call, value),
        Err(panic) => {
            work.panic = Some(panic);
            c::sflight_call_abandon(call);
        }
    }
    0
}

unsafe fn set<T>(call: *mut c::sflight_call, value: T) {
    let value = Arc::into_raw(Arc::new(value)) as *mut c_void;
    c::sflight_call_set(call, value, size_of::<T>() as _, Some(destroy::<T>), null_mut());
}

// On whatever thread gives up the last hold.  A drop that panics aborts the process.
unsafe extern "C" fn destroy<T>(value: *mut c_void, _size: c::size_t, _ctx: *mut c_void) {
    drop(Arc::from_raw(value as *const T));
}

// The functions with _sized are told how large the result is: a later library may have a larger one.
const SIZE: c::size_t = size_of::<c::sflight_result>() as _;

unsafe fn take<T>(rc: c_int, result: &mut c::sflight_result) -> Result<Arc<T>, Error> {
    let value = result.value as *const T;
    let taken = check(rc).map(|()| {
        Arc::increment_strong_count(value);
        Arc::from_raw(value)
    });
    c::sflight_result_release_sized(result, SIZE);
    taken
}

impl<T: Send + Sync + 'static> Group<T> {
    pub fn new() -> Result<Self, Error> {
        let mut group = null_mut();
        check(unsafe { c::sflight_group_create(&mut group, null_mut()) })?;
        Ok(Group { group, of: PhantomData })
    }

    /// Runs f, or waits for the call in flight for the key.  If that one's f panics: EOWNERDEAD.
    pub fn run<F: FnOnce() -> T>(&self, key: &[u8], f: F) -> Result<Arc<T>, Error> {
        let mut work = Work { f: Some(f), panic: None };
        let mut result = MaybeUninit::uninit();
        let rc = unsafe {
            c::sflight_do_until_sized(
                self.group, key.as_ptr() as _, key.len() as _, Some(run::<T, F>),
                &mut work as *mut _ as _, null_mut(), result.as_mut_ptr(), SIZE,
            )
        };
        if let Some(panic) = work.panic {
            resume_unwind(panic);
        }
        unsafe { take(rc, &mut result.assume_init()) }
    }

    /// For work that belongs to another scheduler: never blocks.
    pub fn begin(&self, key: &[u8]) -> Result<Begun<'_, T>, Error> {
        let (mut lead, mut join) = (null_mut(), null_mut());
        check(unsafe {
            c::sflight_begin(self.group, key.as_ptr() as _, key.len() as _, &mut lead, &mut join)
        })?;
        Ok(if lead.is_null() {
            Begun::Join(Future { future: join, group: PhantomData })
        } else {
            Begun::Lead(Permit { call: lead, group: PhantomData })
        })
    }

    pub fn stats(&self) -> c::sflight_stats {
        let mut stats = MaybeUninit::uninit();
        unsafe {
            c::sflight_group_stats_sized(
                self.group, stats.as_mut_ptr(), size_of::<c::sflight_stats>() as _,
            );
            stats.assume_init()
        }
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        unsafe { c::sflight_group_destroy(self.group) };
    }
}

pub enum Begun<'a, T> {
    Lead(Permit<'a, T>),
    Join(Future<'a, T>),
}

/// Ends its call on any thread; abandons it when dropped.
pub struct Permit<'a, T> {
    call: *mut c::sflight_call,
    group: PhantomData<&'a Group<T>>,
}

unsafe impl<T: Send + Sync> Send for Permit<'_, T> {}

impl<T> Permit<'_, T> {
    /// Returns how many followers the call had.
    pub fn complete(self, value: T) -> u32 {
        let call = self.call;
        forget(self);
        unsafe {
            set(call, value);
            c::sflight_complete(call, 0)
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        unsafe { c::sflight_abandon(self.call) };
    }
}

/// A claim on a result to come; leaves the call when dropped.
pub struct Future<'a, T> {
    future: *mut c::sflight_future,
    group: PhantomData<&'a Group<T>>,
}

unsafe impl<T: Send + Sync> Send for Future<'_, T> {}

impl<T> Future<'_, T> {
    /// Waits.
    pub fn get(self) -> Result<Arc<T>, Error> {
        let mut result = MaybeUninit::uninit();
        unsafe {
            let rc = c::sflight_future_get_sized(self.future, null_mut(), result.as_mut_ptr(), SIZE);
            if rc != -EDEADLK {
                forget(self); // it has been consumed
            }
            take(rc, &mut result.assume_init())
        }
    }
}

impl<T> Drop for Future<'_, T> {
    fn drop(&mut self) {
        unsafe { c::sflight_future_drop(self.future) };
    }
}

pub const EDEADLK: c_int = 35;
pub const EOWNERDEAD: c_int = 130;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::thread::{scope, yield_now};

    fn await_waiting<T: Send + Sync + 'static>(g: &Group<T>, n: u64) {
        while g.stats().waiting != n {
            yield_now();
        }
    }

    #[test]
    fn one_runs_for_all() {
        let g = Group::new().unwrap();
        let runs = AtomicU32::new(0);
        let lead = || {
            runs.fetch_add(1, SeqCst);
            await_waiting(&g, 7);
            String::from("page")
        };
        let mut pages: Vec<Arc<String>> = scope(|s| {
            let callers: Vec<_> = (0..8).map(|_| s.spawn(|| g.run(b"key", lead))).collect();
            callers.into_iter().map(|c| c.join().unwrap().unwrap()).collect()
        });
        assert_eq!(runs.load(SeqCst), 1);
        drop(g);
        let page = pages.pop().unwrap();
        assert!(pages.iter().all(|p| Arc::ptr_eq(p, &page)));
        drop(pages);
        assert_eq!(*page, "page");
        assert_eq!(Arc::strong_count(&page), 1); // the library's has gone
    }

    #[test]
    fn a_panic_goes_on_and_the_others_are_told() {
        let g = Group::<u32>::new().unwrap();
        scope(|s| {
            let leader = s.spawn(|| {
                g.run(b"key", || {
                    await_waiting(&g, 1);
                    resume_unwind(Box::new("the engine is lost"))
                })
            });
            while g.stats().led == 0 {
                yield_now();
            }
            assert_eq!(g.run(b"key", || 0), Err(Error(-EOWNERDEAD)));
            let panic = leader.join().unwrap_err();
            assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "the engine is lost");
        });
        assert_eq!(g.run(b"key", || 1), Ok(Arc::new(1)));
    }

    #[test]
    fn own_keys_are_refused() {
        let g = Group::new().unwrap();
        let outer = g.run(b"key", || g.run(b"key", || unreachable!()).unwrap_err()).unwrap();
        assert_eq!(*outer, Error(-EDEADLK));
    }

    #[test]
    fn permits_and_futures() {
        let g = Group::new().unwrap();
        let begin = || g.begin(b"key").unwrap();
        let permit = match begin() {
            Begun::Lead(permit) => permit,
            Begun::Join(_) => panic!("nobody to join"),
        };
        let futures: Vec<_> = (0..3).map(|_| begin()).collect();
        let answers: Vec<Arc<u32>> = scope(|s| {
            s.spawn(|| assert_eq!(permit.complete(5), 3));
            futures.into_iter().map(|b| match b {
                Begun::Join(future) => future.get().unwrap(),
                Begun::Lead(_) => panic!("there is a leader"),
            }).collect()
        });
        assert_eq!(answers.iter().map(|a| **a).sum::<u32>(), 15);
        let (permit, waiter, leaver) = (begin(), begin(), begin());
        drop(leaver);
        assert_eq!(g.stats().waiting, 1);
        drop(permit);
        match waiter {
            Begun::Join(future) => assert_eq!(future.get().unwrap_err(), Error(-EOWNERDEAD)),
            Begun::Lead(_) => panic!("there is a leader"),
        }
        assert_eq!((g.stats().in_flight, g.stats().held), (0, 0));
    }
}
