# SPDX-License-Identifier: BSD-2-Clause
"""One execution for all who ask at the same moment: libsingleflight, by ctypes.

    pages = singleflight.Group()
    page = pages.do('/index', lambda: render('/index'))         # of threads
    page = await pages_of_loop.fly('/index', fetch)             # of coroutines: AsyncGroup

ctypes gives up the interpreter's lock in each call, so a thread that waits in the library keeps nobody
from running; and takes it again in each callback, so fn and destroy are plain Python on any thread.
Python's handlers of signals run when a wait is over, not in it: who wants Ctrl-C sooner gives a timeout.
"""
import asyncio
import ctypes
import errno
import itertools
import time
from ctypes import POINTER, byref, c_bool, c_int, c_long, c_size_t, c_uint, c_uint32, c_uint64, c_void_p, sizeof

lib = ctypes.CDLL('libsingleflight.so.0')


class Result(ctypes.Structure):
    _fields_ = [('value', c_void_p), ('size', c_size_t), ('status', c_int), ('leader', c_bool),
                ('shared', c_bool), ('followers', c_uint32), ('hold', c_void_p)]


class Completion(ctypes.Structure):
    _fields_ = [('tag', c_uint64), ('rc', c_int), ('result', Result)]


class Stats(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in (
        'led joined forgotten timed_out abandoned panicked taken_over expired rejected deadlocks parked spun '
        'in_flight waiting held retired_pending buckets bytes').split()]


class Timespec(ctypes.Structure):
    _fields_ = [('tv_sec', c_long), ('tv_nsec', c_long)]


Fn = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
Destroy = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)


def declare(name, *types, returns=c_int):
    function = getattr(lib, name)
    function.argtypes, function.restype = types, returns
    return function


# Those with _sized are told how large the structs above are: a later library may have larger ones.
group_create = declare('sflight_group_create', POINTER(c_void_p), c_void_p)
group_destroy = declare('sflight_group_destroy', c_void_p)
group_stats = declare('sflight_group_stats_sized', c_void_p, POINTER(Stats), c_size_t)
do_until = declare('sflight_do_until_sized', c_void_p, ctypes.c_char_p, c_size_t, Fn, c_void_p,
                   POINTER(Timespec), POINTER(Result), c_size_t)
release = declare('sflight_result_release_sized', POINTER(Result), c_size_t, returns=None)
forget = declare('sflight_forget', c_void_p, ctypes.c_char_p, c_size_t)
call_set = declare('sflight_call_set', c_void_p, c_void_p, c_size_t, Destroy, c_void_p, returns=None)
call_abandon = declare('sflight_call_abandon', c_void_p, returns=None)
begin_enqueue = declare('sflight_begin_enqueue', c_void_p, ctypes.c_char_p, c_size_t, c_void_p, c_uint64,
                        POINTER(c_void_p), POINTER(c_void_p))
complete = declare('sflight_complete', c_void_p, c_int, returns=c_uint32)
abandon = declare('sflight_abandon', c_void_p, returns=c_uint32)
future_cancel = declare('sflight_future_cancel', c_void_p)
queue_create = declare('sflight_queue_create', POINTER(c_void_p))
queue_destroy = declare('sflight_queue_destroy', c_void_p)
queue_fd = declare('sflight_queue_fd', c_void_p)
queue_drain = declare('sflight_queue_drain_sized', c_void_p, POINTER(Completion), c_uint, c_size_t)
strerror = declare('sflight_strerror', c_int, returns=ctypes.c_char_p)

# What calls came to, (value, exception), by the number that is their value in C: destroy forgets it, on
# whatever thread gives up the last hold.
outcomes = {}
numbers = itertools.count(1)
destroy = Destroy(lambda value, size, ctx: outcomes.pop(value) and None)


def check(rc):
    if rc == -errno.ETIMEDOUT:
        raise TimeoutError(errno.ETIMEDOUT, strerror(rc).decode())
    if rc < 0:
        raise OSError(-rc, strerror(rc).decode())


def set_outcome(call, value, exception):
    number = next(numbers)
    outcomes[number] = value, exception
    call_set(call, number, 0, destroy, None)


def take(rc, result):
    """Gives the hold up; the value, which is an object of Python's, stays as long as it is used."""
    value, exception = outcomes[result.value] if rc == 0 else (None, None)
    release(byref(result), sizeof(result))
    check(rc)
    if exception is not None:
        raise exception
    return value


class Group:
    def __init__(self):
        self._group = c_void_p()
        check(group_create(byref(self._group), None))

    def close(self):
        """When nobody is in it: joined threads, ended tasks."""
        check(group_destroy(self._group))
        self._group = None

    def do(self, key, fn, timeout=None):
        """fn(), or the result of the call in flight for the key; an Exception reaches all callers."""
        def run(call, arg):  # no exception may leave it: ctypes would only print it
            try:
                set_outcome(call, fn(), None)
            except Exception as e:
                set_outcome(call, None, e)
            except BaseException as e:  # Ctrl-C is this thread's own
                left.append(e)
                call_abandon(call)
            return 0
        left, deadline = [], None
        if timeout is not None:
            ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(timeout * 1e9)
            deadline = byref(Timespec(ns // 10**9, ns % 10**9))
        key, result = key.encode(), Result()
        rc = do_until(self._group, key, len(key), Fn(run), None, deadline, byref(result), sizeof(result))
        if left:
            raise left[0]
        return take(rc, result)

    def forget(self, key):
        key = key.encode()
        return forget(self._group, key, len(key)) == 1

    def stats(self):
        stats = Stats()
        check(group_stats(self._group, byref(stats), sizeof(stats)))
        return stats


class AsyncGroup(Group):
    """Of one event loop, which is the running one.  The work belongs to that loop: so permits, and a queue."""

    def __init__(self):
        super().__init__()
        self._queue, self._waiting, self._tags, self._leaders = c_void_p(), {}, itertools.count(), set()
        check(queue_create(byref(self._queue)))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(queue_fd(self._queue), self._drain)

    def close(self):
        self._loop.remove_reader(queue_fd(self._queue))  # before its descriptor goes
        check(queue_destroy(self._queue))
        super().close()

    async def fly(self, key, make):
        """await make(), or the result of the call in flight.  Who is cancelled has left the call."""
        tag, key, lead, future = next(self._tags), key.encode(), c_void_p(), c_void_p()
        check(begin_enqueue(self._group, key, len(key), self._queue, tag, byref(lead), byref(future)))
        self._waiting[tag] = self._loop.create_future()
        if lead:
            leader = self._loop.create_task(self._work(make))
            self._leaders.add(leader)
            leader.add_done_callback(lambda _: self._end(lead, leader))
        try:
            return await self._waiting[tag]
        finally:
            if self._waiting.pop(tag, None) is not None:
                future_cancel(future)

    @staticmethod
    async def _work(make):
        return await make()

    def _end(self, call, leader):
        """However the leader's task has ended: it may have been cancelled before its first step."""
        self._leaders.discard(leader)
        e = asyncio.CancelledError() if leader.cancelled() else leader.exception()
        if e is not None and not isinstance(e, Exception):
            abandon(call)
            return
        set_outcome(call, None if e is not None else leader.result(), e)
        complete(call, 0)

    def _drain(self):
        c = Completion()
        while queue_drain(self._queue, byref(c), 1, sizeof(c)) == 1:
            waiter = self._waiting.pop(c.tag, None)
            try:
                value = take(c.rc, c.result)
                if waiter is not None and not waiter.done():
                    waiter.set_result(value)
            except Exception as e:
                if waiter is not None and not waiter.done():
                    waiter.set_exception(e)
