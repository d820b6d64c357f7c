/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight.h - when many callers want the same thing at the same moment,
 * one of them does the work and all of them get the result.
 *
 *     static int load_page(sflight_call *call, void *arg)        // runs once
 *     {
 *         size_t n;
 *         char *html = query_database(arg, &n);
 *         if (html == NULL)
 *             return 404;                      // delivered as result.status
 *         sflight_call_set(call, html, n, free_html, NULL);
 *         return 200;
 *     }
 *
 *     sflight_result r;
 *     int rc = sflight_do(group, path, strlen(path), load_page, &request, &r);
 *     if (rc == 0)                             // led or joined: all the same
 *         send_page(client, r.status, r.value, r.size);
 *     sflight_result_release(&r);              // the last holder frees it
 *
 * Words
 *   A GROUP is a namespace of keys.  A CALL is one execution for one key, of the
 *   user's function, fn.  The caller that runs it is its LEADER; every other caller
 *   of that call is a FOLLOWER.  A call is JOINABLE from the moment its leader has
 *   claimed the key until it closes, which is when fn has returned, or the key has
 *   been forgotten.  Nothing is cached: a caller that starts after any caller of a
 *   call has returned with its result never gets that result.  (A follower
 *   that left at its deadline has not ended the call: others may still join.)
 *
 *   Who must not block leads by a PERMIT instead of fn, to end the call from wherever
 *   its result comes, and follows by a FUTURE, to be asked or to tell (sflight_begin()).
 *   A BATCH is several keys of one caller, led by one run (sflight_do_many()).  A TASK is
 *   a fiber or coroutine with a stack, which waits in place of its thread where the
 *   group knows how to park it (options.runtime).  A call whose leader has died is
 *   TAKEN OVER if a follower goes on with it (SFLIGHT_ABANDON_TAKEOVER).
 *
 * Errors
 *   Failures of the library come back as negative errno values; 0, or a
 *   documented non-negative number, is success.  errno is left alone.  What
 *   the user's function returned is delivered apart, in result.status.
 *   sflight_strerror() explains each code:
 *     -EINVAL           an argument is NULL, out of range or malformed
 *     -ENOMEM           there is no memory: fn has not been run for the key, the caller has
 *                       no part in its call any more, futures and permits are as they were
 *     -EAGAIN           the call has options.max_waiters followers already; of
 *                       sflight_start(), also: no thread is to be had now; of
 *                       sflight_future_poll(): the result is not there yet
 *     -ETIMEDOUT        the deadline passed
 *     -EDEADLK          waiting here would wait for the caller itself
 *     -ESHUTDOWN        the group is closed
 *     -EBUSY            the group, or queue, is in use and was not destroyed
 *     -EMFILE, -ENFILE  the process, or the system, has no descriptor left
 *     -EPERM, -ENOSYS   the system does not let this process have a descriptor
 *                       or a thread, as a sandbox (seccomp) may do
 *     -EOWNERDEAD       the leader left fn without returning, or gave its call up
 *     -ENOTRECOVERABLE  the leader called sflight_panic()
 *
 *   What -ENOMEM leaves behind: a call older than options.max_age_ns has been forgotten;
 *   in a group with options.runtime.park a follower had joined, and has left as at a
 *   deadline; where sflight_start() got no thread, its call had begun, and has ended.
 *
 *   -EOWNERDEAD has these causes:
 *     - fn was left by pthread_exit(), cancellation or a C++ exception; or by longjmp(),
 *       as soon as its thread ends, or a call that encloses it;
 *     - fn has called sflight_call_abandon(), and returned: its leader gets it, too;
 *     - the permit was used by sflight_abandon(), or by sflight_complete() after
 *       sflight_call_abandon();
 *     - sflight_start() got no thread: those who had joined meanwhile get it;
 *     - this is the child of a fork, and another thread of the parent led the call or had
 *       got its permit: futures on it get it.
 *   Where fn of a batch is left, all calls which the batch leads end so.  With
 *   SFLIGHT_ABANDON_TAKEOVER, and of the first three causes, a follower that blocks goes on
 *   with the call; the others get the code only if none blocks, or the last that does
 *   leaves at its deadline before it has begun.
 *
 * Keys
 *   Byte strings of any length, copied by the library, compared in full.  The
 *   empty key is legal (data may then be NULL).  NULL with a length above 0
 *   is -EINVAL.  The table hashes them with XXH3 and a random seed for each group.
 *   XXH3 is no PRF: who can measure calls well enough may find keys that share a
 *   bucket.  A caller looks at each call in flight in its key's
 *   bucket (some 10 ns a call), so where keys come from strangers, bound how many
 *   are in flight.
 *
 * Time
 *   Deadlines are absolute CLOCK_MONOTONIC times; NULL waits for ever.  A
 *   tv_nsec outside 0..999,999,999 is -EINVAL.  No call fails with EINTR: a wait goes
 *   on after a signal's handler.  No wait is a cancellation point.  Nothing here is
 *   async-signal-safe.
 *
 *   A thread that does not get the CPU, wherever it stands in the library, keeps
 *   those waiting who follow the call that it leads, until their deadlines.  Others
 *   wait for it only if it stands in one of a few places of some instructions each.
 *   Those who may have to are
 *     - who ends a thread, creates or destroys a group, or destroys a queue;
 *     - a leader that itself waits for a call, until its deadline;
 *     - who ends a call of which that thread is clearing away what was given up, or is about
 *       to run the callback of sflight_call_on_unwanted(), or has run it;
 *     - who follows a call that a dead leader has left to that thread, until its deadline;
 *     - tasks, also beyond their deadlines.
 *   What a thread does in a group that it has not used before may take up to a millisecond
 *   longer.
 *
 * Memory ordering
 *   Everything the leader wrote before fn returned is visible to each follower
 *   when its call returns.  fn starts after everything that its own caller did
 *   before and, unless the key was forgotten, after the run of fn for the key
 *   before it; where sflight_forget() let it in, after what was done before
 *   that.  Nothing orders a follower's earlier writes before fn.
 *
 * User code
 *   fn, destroy and callbacks never run while the library holds a lock, or keeps
 *   memory from being freed that others have given up (as in a section of an epoch),
 *   so they may call back into the library and take as long as they like; only, nothing
 *   may destroy the group that it is running in.  The allocator may be called
 *   while the library holds a lock of its own, so it must not call the library.
 *
 *   fn may be left by return, sflight_panic(), pthread_exit(), cancellation or
 *   a C++ exception, but not by longjmp().  destroy should return; if it does
 *   not (cancellation, an exception), the hold is given up all the same, but see below.
 *
 *   Callbacks, of sflight_future_then() and sflight_call_on_unwanted(), should return.  A C++
 *   exception, or pthread_exit(), that leaves one goes on, up through the function that has
 *   run it (complete, abandon, then, drop, cancel, start, or the do functions of a leader or
 *   of who leaves; on a thread of sflight_start() nobody catches it): first all others of the
 *   call are told, and nothing of it is left; a result that the function would have delivered
 *   is released.  If a second one is left while that goes on, or one that runs because fn was
 *   left, the process aborts, with one line: as in C++, where a destructor throws while the
 *   stack is unwound; so too for destroy, which is not cancelled then.  Callbacks must not
 *   be left by longjmp().
 *
 *   Who ends a call waits while another thread is in its sflight_call_on_unwanted()
 *   callback.  So two such callbacks on two threads, of which each ends the other's call,
 *   wait for each other for ever: whether they do it themselves, or a destroy or another
 *   callback does that runs inside them.  So does one that itself waits for the end of its
 *   call, by its key, a future or sflight_group_drain(), if another thread comes to end it.
 *
 *   All this holds with glibc and with musl, whose threads end without unwinding
 *   their stacks; but there a task of options.runtime must not leave fn, nor anybody
 *   a callback, or destroy in a batch or a drain, by the end of its thread, nor a panic leave a
 * frame between pthread_cleanup_push() and _pop().  See singleflight_embedding(7).
 *
 * Wrong use
 *   What a permit, a future or a result is may be used up once: by complete and abandon;
 *   by what consumes a future; by release.  A permit that is used again does nothing, and
 *   0 is returned, until the memory of its call is used for another one, or given back to
 *   the allocator, which may be at once: then it is that call, of whatever key, that is ended,
 *   or memory that is corrupted, as by a consumed future and a
 *   released copy of a result.  So does NULL for a permit or a future, where
 *   it is not said to be fine.  The debug variant of the library aborts
 *   at each of these with one line: singleflight_embedding(7).
 *
 * Threads that end, fork, unloading
 *   Threads need not be registered and may come and go.  Calls made from the
 *   destructors of thread-specific data work.
 *
 *   fork() takes no lock of the library and costs it nothing that grows with groups,
 *   tables or threads; a group is put right by its first use in the child, which
 *   looks at its whole table once.  The child can use every group at once, also in
 *   its handlers of pthread_atfork() (those that run before, and those that run in
 *   the parent, may as well).  A fork may come in fn, destroy or a callback: parent and
 *   child go on from there.  Calls that other threads of the parent led do not exist
 *   there: futures on them, unless given to a callback or a queue, find them
 *   abandoned.  Permits are the child's if the forking thread got them, forgotten or
 *   not; ending another one there does nothing.  One that another thread was ending at
 *   that moment is ended there, and abandoned.  Futures stay, whoever got them.  A
 *   result counts for the thread that got it: in the child those of the parent's
 *   other running threads are not held, those of threads that had ended are.  So a
 *   result that a running thread got and handed to another is to be used in a child
 *   only by way of sflight_result_retain(), by the thread that forks and before it
 *   does.  Where threads release what others got, the child may count less than it
 *   holds, so that sflight_group_destroy() does not refuse (release all before it), or
 *   more, so that it says -EBUSY whatever is released (then close the group).  A
 *   future's or queue's descriptor is shared with the parent: never drain a queue of
 *   the parent's in the child, as that may empty its descriptor, and the parent is not
 *   woken any more.  Make new ones.  What the child has inherited it
 *   gives up in this order: sflight_future_cancel() of what was enqueued,
 *   sflight_abandon() of its permits (one that is not ended keeps its key in flight:
 *   who asks for it there waits for ever), sflight_queue_destroy(), which is harmless
 *   and says -EBUSY while a future is enqueued, or if another thread was enqueueing,
 *   pushing or draining; and a completion or callback that another thread was just
 *   about to deliver, or a future that it was dropping, keeps its group for good; one
 *   that it was telling keeps its memory, and the descriptor if it has one.
 *   A group is of one process: parent and child do not join each other's calls.
 *   The shared library cannot be unloaded by dlclose(), nor a plugin with the
 *   archive inside that is linked as `pkg-config --static` says (-z nodelete).
 *   Another such plugin may go once its groups are destroyed and no thread is in
 *   the library: the thread-specific key and the handler of fork() that its copy
 *   has are given back.  A thread that has used it loses some 500 bytes by that, and with
 *   more than 8 groups up to 128 more for each of these.
 */
#ifndef SFLIGHT_H
#define SFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SFLIGHT_VERSION_MAJOR 0
#define SFLIGHT_VERSION_MINOR 2
#define SFLIGHT_VERSION_PATCH 0

#if defined(__GNUC__)
#define SFLIGHT_PUBLIC __attribute__((visibility("default")))
#define SFLIGHT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define SFLIGHT_NORETURN __attribute__((noreturn))
#else
#define SFLIGHT_PUBLIC
#define SFLIGHT_PRINTF(fmt, first)
#define SFLIGHT_NORETURN
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct timespec; /* <time.h> has it in POSIX and in C11 */

/* ------------------------------------------------------------------ types */

typedef struct sflight_group sflight_group; /* a namespace of keys */
typedef struct sflight_call sflight_call;   /* handed to fn, valid while fn runs; or a permit */

/*
 * The work.  Runs on the leader's own thread, on the leader's stack, without
 * any lock held.  The return value is delivered to every caller as
 * result.status, whatever it is; the library reads no meaning into it.
 */
typedef int sflight_fn(sflight_call *call, void *arg);

/*
 * The work of a batch: calls[0..n-1] are the calls this caller leads, in the
 * order in which their keys stand in the caller's array (see
 * sflight_call_key()).  The return value is the status of every call that got
 * none of its own by sflight_call_set_status().
 */
typedef int sflight_many_fn(sflight_call *const *calls, size_t n, void *arg);

/* Gives up a value; see sflight_call_set().  ctx is what was passed there. */
typedef void sflight_destroy_fn(void *value, size_t size, void *ctx);

typedef struct sflight_key {
    const void *data; /* may be NULL if len is 0 */
    size_t len;       /* bytes */
} sflight_key;

/*
 * What a caller gets.  The value is shared by all callers of the call: treat
 * it as read-only, or agree on who may write.  It stays valid until this
 * caller releases its hold with sflight_result_release(), which is due once
 * for each result, value or not.  A result is plain data and may be moved to
 * another thread, but not duplicated by assignment: use
 * sflight_result_retain().  What was in *r before is not looked at: release that
 * first.
 */
typedef struct sflight_result {
    void *value;        /* what the leader set; NULL if it set none */
    size_t size;        /* bytes, as the leader said; 0 if it did not say */
    int status;         /* what fn returned, verbatim */
    bool leader;        /* this caller was the leader; of a call that was taken over, its last */
    bool shared;        /* delivered to more than one caller: true for every
                           follower; for the leader, if anyone joined */
    uint32_t followers; /* how many had joined when the call closed */
    void *hold;         /* private */
} sflight_result;

/* ---------------------------------------------------------------- options */

/* options.on_abandon: the leader left fn by pthread_exit, cancel, an exception; or abandoned it */
enum sflight_on_abandon {
    SFLIGHT_ABANDON_SHARE = 0,   /* every caller gets -EOWNERDEAD (default) */
    SFLIGHT_ABANDON_TAKEOVER = 1 /* one blocking follower runs its own fn as
                                    the new leader of the same call, the rest
                                    go on waiting; with no blocking follower
                                    the call ends as with SHARE.  Where each
                                    one's fn dies they run one after the other,
                                    and the last waits for all of them, or
                                    until its deadline.  sflight_do_many()
                                    blocks in every call that it has joined, but
                                    takes one over when it comes to wait for it:
                                    after its own fn, and the joined keys before
                                    that.  So let neither wait for such a key */
};

/* options.on_panic: the leader called sflight_panic() */
enum sflight_on_panic {
    SFLIGHT_PANIC_SHARE = 0, /* every caller gets -ENOTRECOVERABLE (default) */
    SFLIGHT_PANIC_ABORT = 1  /* print message and backtrace, then abort() */
};

#define SFLIGHT_SPIN_ADAPTIVE UINT64_MAX /* options.spin_ns: the default */

/*
 * Where the group's memory comes from.  alloc returns size bytes aligned to
 * align (a power of two, at least sizeof(void *)), or NULL; free gets the size
 * that alloc got.  Both may be called from any thread that uses the group, and from
 * no other, at the same time.  NULL for both means the process's own posix_memalign() and
 * free(); one without the other is -EINVAL.
 */
typedef struct sflight_allocator {
    void *ctx; /* passed through */
    void *(*alloc)(void *ctx, size_t size, size_t align);
    void (*free)(void *ctx, void *ptr, size_t size);
} sflight_allocator;

/*
 * Callers that are TASKS of a runtime of one's own (fibers, coroutines with
 * stacks): a caller that waits for a call, a future or a drain parks its task
 * instead of its thread.  Fixed when the group is created; copied.
 *
 * self    the task that calls, any pointer that is unique among the tasks alive;
 *         NULL for a plain thread, which then waits as in any other group
 * park    stops the calling task, which is `task`, until unpark(ctx, task), or
 *         until the deadline (absolute, CLOCK_MONOTONIC; NULL: never) has
 *         passed.  May return early at any time.  It may resume the task on
 *         another thread
 * unpark  makes a task that is parked, or is about to park, ready to run; does
 *         not run it or any other task itself, nor wait for it.  Called from any
 *         thread, once for each wait that is to end or to look again: an unpark
 *         that comes before its park makes that park return at once, and so has to
 *         be remembered; of several, one.  The task still exists when it is called,
 *         and does not leave the library before it has returned.  What came before
 *         an unpark is visible after the park that it ends
 * spawn   runs run(arg) once, now or later, in a task or on a thread, and returns
 *         0; or returns a negative errno and does not run it.  It is how
 *         sflight_start() gets its leaders, and is called on whatever thread calls
 *         that.  If it runs it at once, on the stack that spawn was called on, fn
 *         must return
 *
 * self, park and unpark are given together or not at all (-EINVAL); NULL means
 * threads, on futexes.  spawn may be given alone; without it each leader of
 * sflight_start() gets a thread of its own.  ctx must live as long as the group.
 * Hooks are called as other user code is, without a lock held (self also in
 * a forked child, with a lock held); they must not call the library, and self, park
 * and unpark must not fail, throw, be left by longjmp() or be cancellation points;
 * spawn may fail, but otherwise the same is true of it.
 *
 * In a group with park, fn runs in the caller's task and may park it, so a call may
 * begin on one thread and end on another; destroy, and callbacks of
 * sflight_future_then(), must not park.  A task must not be deleted while it is
 * inside the library, unless its stack is unwound by an exception.  In a forked
 * child only the task that called fork() goes on, and is the first to use a group with
 * park there, or a queue of the parent's.  Circles of waits are found where
 * all the groups in them have the same runtime, which is the same self and ctx.
 */
typedef struct sflight_runtime {
    void *ctx; /* passed through */
    void *(*self)(void *ctx);
    void (*park)(void *ctx, void *task, const struct timespec *deadline);
    void (*unpark)(void *ctx, void *task);
    int (*spawn)(void *ctx, void (*run)(void *arg), void *arg);
} sflight_runtime;

typedef struct sflight_options {
    size_t struct_size;       /* set by sflight_options_init() */
    size_t expected_inflight; /* calls in flight to size the tables for, with
                                 64 to 128 bytes for each; they grow by
                                 themselves past it (0: by the number of CPUs,
                                 about 64 KiB for each, at most 2 MiB unless
                                 shards asks for more.  A group for a few calls,
                                 one of many, does with 64, at some ns more for
                                 each).  At most 2^26 */
    uint32_t shards;          /* tables the keys are spread over; rounded up to
                                 a power of two (0: by the number of CPUs; at
                                 most 65,536) */
    uint32_t max_waiters;     /* followers one call may have at a time; further
                                 callers get -EAGAIN (0: no limit; 2^24 that
                                 block, and 2^28 that do not, which are 8 GiB,
                                 are too many for a call, and not refused) */
    uint64_t max_age_ns;      /* the next caller forgets a call older than this
                                 and leads a new one (0: never).  A thread that
                                 asks for a key it leads itself gets -EDEADLK,
                                 whatever the age; a call that is taken over
                                 keeps its age */
    int on_abandon;           /* SFLIGHT_ABANDON_... */
    int on_panic;             /* SFLIGHT_PANIC_... */
    bool cancel_unwanted;     /* a call whose last waiter has left is forgotten:
                                 nobody joins it any more.  The leader of a
                                 blocking call waits for it itself, so such a
                                 call is never unwanted */
    uint64_t spin_ns;         /* upper bound on spinning before a follower parks
                                 (0: never spin; default SFLIGHT_SPIN_ADAPTIVE:
                                 as long as spinning has lately paid, and with
                                 more threads than CPUs giving up the CPU a few
                                 times first, see sched_yield(2)) */
    sflight_allocator allocator;
    sflight_runtime runtime;
    uint64_t durations; /* 1: takes the times that the last members of sflight_stats
                           and sflight_info.age_ns are made of, at two readings of
                           the clock for a call and two for a wait, and 528 bytes
                           for each thread (0: none) */
} sflight_options;

#define SFLIGHT_DURATIONS 64 /* places of sflight_stats.durations */

/*
 * A snapshot: each number is exact when nothing moves; while calls are in
 * flight the numbers may be some operations apart from one another.
 */
typedef struct sflight_stats {
    /* since the group was created */
    uint64_t led;        /* calls begun: how often a key was claimed */
    uint64_t joined;     /* callers that joined a call in flight */
    uint64_t forgotten;  /* calls forgotten by the forget functions or, with cancel_unwanted,
                            because nobody waited any more */
    uint64_t timed_out;  /* followers that left at their deadline */
    uint64_t abandoned;  /* calls whose leader left fn without returning, or gave them up:
                            sflight_abandon(), sflight_call_abandon() */
    uint64_t panicked;   /* calls whose leader called sflight_panic() */
    uint64_t taken_over; /* abandoned calls that a follower went on with */
    uint64_t expired;    /* calls forgotten because of max_age_ns */
    uint64_t rejected;   /* callers turned away because of max_waiters */
    uint64_t deadlocks;  /* callers that got -EDEADLK */
    uint64_t parked;     /* waits that put their thread to sleep, counted before */
    uint64_t spun;       /* waits that found the result without sleeping */
    /* now */
    uint64_t in_flight;       /* calls claimed and not ended */
    uint64_t waiting;         /* followers inside the library */
    uint64_t held;            /* results not yet released */
    uint64_t retired_pending; /* call records that await their grace period, or that
                                 a thread remembers, as it has joined the call
                                 again and again: one for each thread at most */
    uint64_t buckets;         /* hash buckets of all shards */
    uint64_t bytes;           /* memory the group has from its allocator,
                                 sflight_call_alloc() included.  Of it each
                                 thread keeps at most 48 KiB for its next
                                 calls, 72 where keys have hundreds of bytes;
                                 16 and 40 once it has ended some 120 calls
                                 that needed less; one that has ended leaves
                                 that to the next thread that comes.  Futures
                                 have memory 30 at a time, 1 KiB, which is freed
                                 when all 30 are over: where those that were
                                 begun together end far apart, what a thread
                                 keeps can be up to 1 MiB, later 80 KiB, and one
                                 that is not over can keep 1 KiB */
    /* since the group was created, with options.durations; otherwise 0 */
    uint64_t longest_wait_ns;              /* that a thread or task was blocked for a call: a
                                              follower, or in sflight_future_get() */
    uint64_t total_ns;                     /* that all calls took which have ended, each from
                                              its claim to its end */
    uint64_t durations[SFLIGHT_DURATIONS]; /* [i]: how many of them took at least
                                 2^i ns and less than 2^(i+1); [0]: also 0 ns */
} sflight_stats;

/* sflight_info.kind */
enum sflight_kind {
    SFLIGHT_KIND_LEADER = 0, /* led by a caller that blocks in fn; or by one that took it over */
    SFLIGHT_KIND_PERMIT = 1, /* of sflight_begin() and its like: whoever has the permit leads */
    SFLIGHT_KIND_STARTED = 2 /* of sflight_start() */
};

#define SFLIGHT_AGE_UNKNOWN UINT64_MAX /* sflight_info.age_ns */

/* A call in flight, as it was at one moment. */
typedef struct sflight_info {
    sflight_key key;   /* a copy, valid until the visit is over */
    uint64_t age_ns;   /* since the key was claimed; SFLIGHT_AGE_UNKNOWN in a group with
                          neither options.max_age_ns nor options.durations */
    int kind;          /* SFLIGHT_KIND_... */
    uint32_t blocking; /* followers that block a thread or task */
    uint32_t futures;  /* followers that do not; the future of who started the call, or has
                          its permit, does not count */
    bool forgotten;    /* newcomers lead another call for the key */
    bool orphaned;     /* its leader has died, and no follower has taken it over yet */
} sflight_info;

/* -------------------------------------------------------------- lifecycle */

/*
 * Fills *o with the defaults.  Always start from this: the struct may grow (see
 * "structs that grow").
 */
SFLIGHT_PUBLIC void sflight_options_init(sflight_options *o);

/*
 * Makes a group and stores it in *out; o may be NULL for the defaults and is
 * not kept.  Returns 0, -EINVAL (out NULL; an option out of range, or one of a
 * later version that is not 0) or -ENOMEM;
 * on failure *out is NULL (where out is not).
 */
SFLIGHT_PUBLIC int sflight_group_create(sflight_group **out, const sflight_options *o);

/*
 * Turns newcomers away: from now on they get -ESHUTDOWN, also for a key whose
 * call is in flight.  Calls in flight finish for those who joined before.
 * Does not wait.  Returns 0 (again, if closed already), or -EINVAL for NULL.
 */
SFLIGHT_PUBLIC int sflight_group_close(sflight_group *g);

/*
 * Waits until no call of the group is in flight, that is until every fn has
 * returned; after sflight_group_close() none will begin any more.  And until the
 * threads of sflight_start(), or what options.runtime.spawn runs, have left the
 * group, but for the caller itself, in a callback of one; callbacks of two
 * that drain wait for each other.  Followers may
 * still be on their way to the result.  Returns 0, -ETIMEDOUT, -EDEADLK at once if the
 * calling thread or task is inside an fn of this group, -ENOMEM (a task only), or
 * -EINVAL.
 */
SFLIGHT_PUBLIC int sflight_group_drain(sflight_group *g, const struct timespec *deadline);

/*
 * Frees the group.  Returns 0; NULL is fine.  Returns -EBUSY, and nothing
 * happens, while a call is in flight, a caller is waiting or a result is
 * held.  The caller makes sure that no thread enters the library with this
 * group from now on: close it, join or tell the threads, drain, destroy.
 * Waits for a leader, of any group, that is looking whether its own wait would close a
 * circle: some steps, without user code; but if it does not get a CPU, as long as that.
 */
SFLIGHT_PUBLIC int sflight_group_destroy(sflight_group *g);

/*
 * Stores a snapshot in *out; cheap enough to be scraped every second: its cost
 * grows with the number of threads that use the group, not with its calls.
 * Returns 0, or -EINVAL for a NULL.
 */
SFLIGHT_PUBLIC int sflight_group_stats(sflight_group *g, sflight_stats *out);

/*
 * Calls visit(info, ctx) for the calls in flight, one after the other, in no particular order,
 * and stops nobody: one that is in flight all the while is shown once, one that begins or ends
 * meanwhile once or not at all.  Each is shown as it was a moment before.
 *
 * visit returns 0 to go on; anything else ends the walk and is returned.  It is user code like
 * fn: it may use the group, wait, fork, and be left by an exception, a panic or the end of its
 * thread (with musl not by that in a task of options.runtime), but not by longjmp().  Until the
 * walk is over sflight_group_destroy() says -EBUSY.  Later versions may add members to
 * sflight_info; visit gets it in 128 bytes, zero beyond what the library knows.
 *
 * The walk looks at every bucket (sflight_stats.buckets, about 1 ns each), takes some memory from
 * the group's allocator while it lasts, and costs the leader of each call that it meets, once,
 * about as much as a follower would that joins.
 *
 * Returns 0, what visit returned, -ENOMEM (some calls have been shown, perhaps), or -EINVAL for
 * a NULL g or visit.
 */
SFLIGHT_PUBLIC int sflight_group_each(sflight_group *g,
                                      int (*visit)(const sflight_info *info, void *ctx), void *ctx);

/* One line for a code this library returns, negative or 0; never NULL. */
SFLIGHT_PUBLIC const char *sflight_strerror(int rc);

/* The version of the library that runs, as "MAJOR.MINOR.PATCH". */
SFLIGHT_PUBLIC const char *sflight_version(void);

/* ------------------------------------------------------- blocking callers */

/*
 * Runs fn(call, arg) for the key, unless a call for this key is in flight:
 * then waits for that one and takes its result.  As leader it blocks as long
 * as fn does; as follower until the call ends.  Uncontended it makes no system
 * call, takes no lock (in a group without a runtime) and, after warm-up, allocates
 * nothing.
 *
 * Returns 0 and fills *r, to be released once; or a failure, and *r is zeroed
 * (releasing it is harmless).  Only -ENOTRECOVERABLE delivers something: *r is
 * filled, and to be released, as if it were 0.  The failures:
 *   -ENOTRECOVERABLE  the leader panicked: r->value is the message with a
 *                     backtrace, a string of r->size bytes and a NUL, and
 *                     r->status is 0
 *   -EOWNERDEAD       the leader left fn by pthread_exit(), by cancellation
 *                     or by a C++ exception (the leader itself goes on as it
 *                     asked, past this function)
 *   -EDEADLK          the calling thread leads this key's call already, or
 *                     that call's leader waits, through any chain of leaders,
 *                     for a call that the calling thread leads
 *   -EAGAIN, -ESHUTDOWN, -EINVAL, -ENOMEM: see "Errors" above
 *
 * Leaving fn by longjmp() is undefined for that call; when the thread ends, or
 * an enclosing call of it does on the thread's own stack, the call's followers get
 * -EOWNERDEAD.  What to do instead is in singleflight_embedding(7).
 * Coroutines with stacks of their own may run fns on one thread and end them in
 * any order, as long as each stays on that thread; but one that waits stops the
 * thread, and all of them are one caller as to -EDEADLK: see options.runtime.
 */
SFLIGHT_PUBLIC int sflight_do(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                              void *arg, sflight_result *r);

/*
 * The same with a deadline for followers: one whose deadline passes leaves and
 * the call goes on.  A leader runs fn to its end, whatever the deadline.  A
 * deadline in the past still leads, or takes a result that is there, but never
 * waits.  Returns what sflight_do() does, and besides
 *   -ETIMEDOUT        the deadline passed before the call ended
 *   -EINVAL           the deadline is malformed
 */
SFLIGHT_PUBLIC int sflight_do_until(sflight_group *g, const void *key, size_t key_len,
                                    sflight_fn *fn, void *arg, const struct timespec *deadline,
                                    sflight_result *r);

/*
 * A batch.  Claims all n keys, runs fn once for those this caller leads, if
 * any, then waits for the others; its own work comes first, so that batches
 * cannot deadlock one another.  Each key succeeds or fails alone: rc[i] and
 * r[i] are what sflight_do_until() would have returned for keys[i].  A key
 * named twice gets one call, and each place a hold of its own.  A panic, or
 * leaving fn otherwise, ends every call of the batch.  A follower that takes over
 * an abandoned call runs fn again, with that one call; if that fn does not
 * return, the results that the batch has got for earlier keys are given up, and zeroed in r.
 *
 * Returns 0, also if some or all keys failed, one that is malformed included; or
 * -EINVAL, -ENOMEM or -ESHUTDOWN, and then nothing was claimed and rc and r are
 * untouched.  n may be 0.
 */
SFLIGHT_PUBLIC int sflight_do_many(sflight_group *g, const sflight_key *keys, size_t n,
                                   sflight_many_fn *fn, void *arg, const struct timespec *deadline,
                                   sflight_result *r, int *rc);

/*
 * Gives up this caller's hold and zeroes *r.  The last holder of a call runs
 * destroy, here.  Idempotent; the result of a failed call and NULL are fine.
 */
SFLIGHT_PUBLIC void sflight_result_release(sflight_result *r);

/*
 * Makes *copy a second hold on the same value, to be released on its own.
 * Returns 0, or -EINVAL (a NULL, or *r holds nothing: *copy is then zeroed
 * where it can be; or copy is r, which stays as it is).
 */
SFLIGHT_PUBLIC int sflight_result_retain(const sflight_result *r, sflight_result *copy);

/*
 * Makes the next caller of the key lead a new call, though one is in flight;
 * that one's callers still get its result.  May be called by anyone, also
 * inside fn for its own key.  Never blocks.  Returns 1 if a call was
 * forgotten, 0 if none was in flight, or -EINVAL.
 */
SFLIGHT_PUBLIC int sflight_forget(sflight_group *g, const void *key, size_t key_len);

/*
 * Forgets the key's call unless it has followers.  Returns 1 if it was
 * forgotten, and then its result reaches its leader only, or if none was in
 * flight; 0 if it is shared and therefore kept; or -EINVAL.  Never 0 after a
 * caller of that call has returned with its result.
 */
SFLIGHT_PUBLIC int sflight_forget_unshared(sflight_group *g, const void *key, size_t key_len);

/* ------------------------------------- event loops and manual leaders */

typedef struct sflight_future sflight_future; /* one caller's claim on a result to come */
typedef struct sflight_queue sflight_queue;   /* completions, with a pollable descriptor */

/*
 * Claims the key, or joins its call; never blocks and runs nothing.  Either
 * *lead is set, and this caller has the PERMIT: it must later, from any thread,
 * end the call with sflight_complete() or sflight_abandon(), using the
 * functions of "inside fn" before that as it likes (but not sflight_panic()).  A
 * permit gives no result by itself: see sflight_call_future().  They may be called on
 * any thread, by one at a time: see there.
 * Or *join is set, a future on somebody else's call.  The other one is NULL.
 *
 * A permit belongs to nobody: the thread that got it may end; and one that waits for
 * the permit's call, which itself should end, waits for ever or until its deadline:
 * the library does not refuse that, as another thread might end it.  While it is
 * outstanding sflight_group_drain() waits and sflight_group_destroy() says
 * -EBUSY.
 * Returns 0, -EAGAIN, -ENOMEM, -ESHUTDOWN or -EINVAL; on failure both are NULL.
 */
SFLIGHT_PUBLIC int sflight_begin(sflight_group *g, const void *key, size_t key_len,
                                 sflight_call **lead, sflight_future **join);

/*
 * The permit holder's own future on its call, once for each permit and before the
 * call is ended, in *out.  It is used as any other, but is no follower: its result
 * says `leader`; `shared`, `followers`, options.max_waiters, statistics and
 * sflight_forget_unshared() count the others only.  It gives a result, though the
 * key has been forgotten, the call has grown too old or the group has been closed
 * meanwhile.  If the permit is abandoned and a follower takes the call over, that one leads,
 * and this future is a follower's.  Until it is consumed it is somebody who waits for the call
 * (see sflight_call_unwanted()); the permit remains, whatever becomes of the future.
 * Returns 0, -EINVAL (a NULL, not a permit, or it has one) or -ENOMEM; on failure
 * *out is NULL and the permit is as it was.
 */
SFLIGHT_PUBLIC int sflight_call_future(sflight_call *call, sflight_future **out);

/*
 * sflight_begin(), sflight_call_future() and sflight_future_enqueue() in one step,
 * for event loops: every caller, the one that gets the permit included, gets one
 * completion in q with its tag.  *lead is set for the one that must do the work and
 * then end the call, otherwise NULL.  *f (f may be NULL) is for
 * sflight_future_cancel() only, and only until the completion has been drained.
 * Never blocks.  The completion may be there before this returns.
 * Returns 0, -EAGAIN, -ENOMEM, -ESHUTDOWN or -EINVAL; on failure nothing is claimed,
 * nothing will come, and *lead and *f are NULL.
 */
SFLIGHT_PUBLIC int sflight_begin_enqueue(sflight_group *g, const void *key, size_t key_len,
                                         sflight_queue *q, uint64_t tag, sflight_call **lead,
                                         sflight_future **f);

/*
 * Ends a call by its permit: delivers the value set and the status (or the one of
 * sflight_call_set_status()) to everybody who has joined, and to the permit holder's
 * own future.  Runs the callbacks of sflight_future_then(), and otherwise no user
 * code but destroy, if nobody else has a hold on the result by then: where nobody waits, or
 * all who did have released theirs.  The permit is gone, see "Wrong use".  Returns how many
 * followers the call had when it closed; the own future is none.
 * Waits for nothing but a callback of sflight_call_on_unwanted() for this call that
 * another thread is in at this moment, and for the few steps of one that is just giving up
 * a future or a wait of this call.
 */
SFLIGHT_PUBLIC uint32_t sflight_complete(sflight_call *call, int status);

/*
 * The same without a result: everybody gets -EOWNERDEAD; or a follower takes over, and
 * what is returned is how many followers there were then.  Neither is for the call of an fn,
 * which is no permit: see sflight_call_abandon().
 */
SFLIGHT_PUBLIC uint32_t sflight_abandon(sflight_call *call);

/*
 * Runs fn(call, arg) for the key elsewhere, unless a call for this key is in
 * flight; *out is a future on the call in either case.  Elsewhere is where
 * options.runtime.spawn says, or a thread of its own, detached and with all
 * signals blocked.  In fn, arg and everything else are as in sflight_do().
 * Of a caller that joins, fn and arg are not used, and it learns that from its result
 * only: so let arg be what all callers share; the key is in sflight_call_key().
 * Returns 0, -EAGAIN or -ENOMEM (see "Errors" above), -ESHUTDOWN or -EINVAL; or,
 * where no thread can be made or spawn has failed, -EAGAIN, -ENOMEM, -EPERM or
 * -ENOSYS (any other failure of spawn is -EAGAIN): then whoever has joined
 * meanwhile gets -EOWNERDEAD, and the key is free.  On failure *out is NULL.
 *
 * The starter's result says `leader`, unless a follower has taken the call over
 * (SFLIGHT_ABANDON_TAKEOVER): then that one has run its own fn and is the leader, and the
 * starter is a follower: its result says `shared` and not `leader`, and `followers` counts it.
 */
SFLIGHT_PUBLIC int sflight_start(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                 void *arg, sflight_future **out);

/*
 * A future is used by one thread at a time and is consumed once: by get or poll
 * when they deliver, whatever they deliver, by then, enqueue or drop when they succeed.
 * What has been consumed must not be used any more, not even dropped (but see
 * sflight_future_cancel()).  It keeps its group in use until then, and if it was enqueued or given
 * a callback until the result that comes of it has been released.  What a future delivers is what
 * sflight_do() would have returned to a follower: 0 and a result, to be released, or -EOWNERDEAD,
 * or -ENOTRECOVERABLE with the message, or -ESHUTDOWN (the group was closed while the call was
 * being begun).
 *
 * get waits for the result: -ETIMEDOUT, -EDEADLK (as for sflight_do()) and -EINVAL
 * leave the future as it is; 0 and every other code (-EOWNERDEAD, -ENOTRECOVERABLE,
 * -ESHUTDOWN) have consumed it.  poll says -EAGAIN while the result is not there, and
 * leaves it, and is otherwise the same.
 */
SFLIGHT_PUBLIC int sflight_future_get(sflight_future *f, const struct timespec *deadline,
                                      sflight_result *r);
SFLIGHT_PUBLIC int sflight_future_poll(sflight_future *f, sflight_result *r);

/*
 * A descriptor (eventfd) that becomes readable when the result is there.  Made
 * on first use; belongs to the future, which closes it when it is consumed.
 * Do not read it: poll the future.  Returns it, or -EINVAL, -ENOMEM, -EMFILE,
 * -ENFILE, -EPERM or -ENOSYS; the future still works.
 */
SFLIGHT_PUBLIC int sflight_future_fd(sflight_future *f);

/*
 * Has cb(arg, rc, r) called once: by the thread that ends the call, after it
 * has ended, or here if it has.  cb owns *r, which is to be released before cb
 * returns, or copied, by assignment, to be released later.  cb should return, see "User code";
 * the thread is not cancelled meanwhile.  cb may use the library, also to end other
 * calls: callbacks that follow from that run after it, not inside it.  Consumes
 * f.  Returns 0, -EINVAL or -ENOMEM (only after sflight_future_fd() or _get(); f
 * is then as it was).
 */
SFLIGHT_PUBLIC int sflight_future_then(sflight_future *f,
                                       void (*cb)(void *arg, int rc, sflight_result *r), void *arg);

/*
 * Has the completion put into q once, with this tag.  Consumes f.  Returns as
 * sflight_future_then() does.
 */
SFLIGHT_PUBLIC int sflight_future_enqueue(sflight_future *f, sflight_queue *q, uint64_t tag);

/*
 * Leaves the call if it is still in flight, or gives its result up.  Consumes
 * f; NULL is fine.  With options.cancel_unwanted, a call that nobody waits for
 * any more is forgotten.  Returns 1 if f was the last that waited for a call in flight;
 * if the last ones are dropped at once, of exactly one of them; otherwise 0.  May run the
 * callback of sflight_call_on_unwanted().
 * Of those that were given up while their call goes on, by drop, cancel or a deadline, about 64
 * are kept, or as many as still wait, until the call ends.
 */
SFLIGHT_PUBLIC int sflight_future_drop(sflight_future *f);

/*
 * Takes back a future that was given to sflight_future_enqueue(), _begin_enqueue() or
 * sflight_future_then().  Returns 1: it has left the call as by drop, and there will be no
 * completion and no callback; or 0: too late, it comes.  Either way f is gone.  Also 0 for
 * NULL; -EINVAL for a future that was given to neither, which stays as it is.
 *
 * Of a queue: to be called by the queue's consumer, and not once the completion has been
 * drained, which it is when sflight_queue_drain() has stored it, looked at or not.
 * Of a callback: to be called before the callback has begun.  The caller keeps the two apart,
 * for example by calling this on the thread that ends the call (it then returns 1).
 * f must not have been used with sflight_future_fd() or _get() before it was given away.
 * May run the callback of sflight_call_on_unwanted().
 */
SFLIGHT_PUBLIC int sflight_future_cancel(sflight_future *f);

typedef struct sflight_completion {
    uint64_t tag;          /* as given to sflight_future_enqueue() */
    int rc;                /* as sflight_future_get() would have returned it */
    sflight_result result; /* to be released */
} sflight_completion;

/*
 * A completion queue: calls of any group, ended by any thread, one consumer.
 * Completions come in no particular order.  Ending a call costs no system call
 * for each of them: the descriptor is written when the queue goes from empty to
 * non-empty.
 * create returns 0, -EINVAL, -ENOMEM, -EMFILE, -ENFILE, -EPERM or -ENOSYS.
 * destroy returns 0 (NULL is fine), or -EBUSY while an enqueued future has not
 * been drained.
 */
SFLIGHT_PUBLIC int sflight_queue_create(sflight_queue **out);
SFLIGHT_PUBLIC int sflight_queue_destroy(sflight_queue *q);

/*
 * For poll(2), epoll(7), ...: readable while there may be something to drain; only
 * a drain that takes nothing makes it unreadable.  So with EPOLLET drain until that
 * returns 0.  Returns it, or -EINVAL for NULL.
 */
SFLIGHT_PUBLIC int sflight_queue_fd(sflight_queue *q);

/*
 * Takes at most n completions, never blocks, and returns how many (0: none), or
 * -EINVAL.  Each result is to be released.  Less than n may be taken though there are
 * more: so it is before one whose value is destroyed here, as its call was abandoned.
 */
SFLIGHT_PUBLIC int sflight_queue_drain(sflight_queue *q, sflight_completion *out, unsigned n);

/*
 * sflight_result_release() for the results of c[0..n-1]; those of one call that stand
 * together are given up in one step.  Idempotent; NULL is fine.
 */
SFLIGHT_PUBLIC void sflight_completions_release(sflight_completion *c, unsigned n);

/* -------------------------------------------------------------- inside fn */
/*
 * On the leader's own call, by the thread or task that runs fn, while fn runs.  Or, but for
 * sflight_panic(), on a permit, on any thread, from sflight_begin() to sflight_complete() or
 * sflight_abandon(), these included: by one thread at a time, each after the one before it as
 * a lock or a queue of the program's orders them, for the library does not.  What is said of
 * "when fn returns" is then so at sflight_complete().
 */

/*
 * Sets the result.  The value belongs to the call from here on: destroy (may
 * be NULL) runs exactly once, on whichever thread gives up the last hold, even
 * if nobody took the result.  Called again, the earlier value is destroyed at
 * once, also if it is the same pointer: do not set a value of your own twice.
 * size is the caller's to define; followers read it as result.size.
 */
SFLIGHT_PUBLIC void sflight_call_set(sflight_call *call, void *value, size_t size,
                                     sflight_destroy_fn *destroy, void *ctx);

/* Gives one call of a batch a status of its own, or overrides fn's return. */
SFLIGHT_PUBLIC void sflight_call_set_status(sflight_call *call, int status);

/*
 * size bytes of uninitialised memory from the group's allocator, aligned for
 * any type, freed after the last holder.  Becomes the call's value, as by
 * sflight_call_set().  Returns NULL, and changes nothing, if there is none.
 * A value that turns out shorter: sflight_call_set(call, same pointer, its
 * size, NULL, NULL) changes the size and nothing else; what is given in place of
 * the NULLs is not used.
 */
SFLIGHT_PUBLIC void *sflight_call_alloc(sflight_call *call, size_t size);

/*
 * True if nobody waits for this call any more, so that fn may stop early.  Never
 * for the call of a leader that blocks, who waits for it; a permit by itself
 * does not count as somebody who waits, its holder's own future does.  With
 * options.cancel_unwanted who is told so can count on it: to ask forgets the call if nobody
 * waits, and nobody gets what fn makes of it.  So do not ask, there, with a permit that nobody
 * has had the time to join.  Without that option others may still join.
 */
SFLIGHT_PUBLIC bool sflight_call_unwanted(const sflight_call *call);

/*
 * Has cb(arg) called once when nobody waits for the call any more, by the thread that
 * leaves it last; or here, if that is so and somebody has waited before.  It is for calling
 * off a query.  With options.cancel_unwanted the call has been forgotten by then; without,
 * others may still join.  cb is not called once the call has ended: who ends the call waits
 * for it, so hold no lock then that cb takes; cb may end the call itself, if nobody else does:
 * an atomic flag decides between it and the answer.  It is called once for each time that it
 * is set; if cb sets it itself, when somebody has joined and left again.  arg is not used once
 * the call has ended.  cb should return,
 * see "User code", must not park a task of options.runtime, and is not cancelled.
 *
 * For a permit, or inside fn of sflight_start(); does nothing for a leader that blocks,
 * who waits for the call.  Called again, cb takes the place of the earlier one; NULL: none.
 * Without memory (for a future) nothing is called: sflight_call_unwanted() still tells.
 *
 * "Who ends the call" is complete and abandon, and on a leader's thread the return of fn, a
 * panic, and whatever else leaves fn.  Who sets another cb waits as well, but for cb itself.
 */
SFLIGHT_PUBLIC void sflight_call_on_unwanted(sflight_call *call, void (*cb)(void *arg), void *arg);

/*
 * When fn returns, the call ends as if its leader had left fn without returning, whatever
 * fn returns: followers get -EOWNERDEAD or take it over (options.on_abandon), and so does the
 * leader's own sflight_do() return -EOWNERDEAD.  Of a permit, sflight_complete() is then
 * sflight_abandon().
 */
SFLIGHT_PUBLIC void sflight_call_abandon(sflight_call *call);

/* The key, valid while fn runs, or the permit lasts; *len (may be NULL) gets its length. */
SFLIGHT_PUBLIC const void *sflight_call_key(const sflight_call *call, size_t *len);

/*
 * Leaves fn at once: unwinds the stack up to what runs it (cleanup handlers of
 * frames built with -fexceptions run; C++ code should throw instead), and everybody
 * gets -ENOTRECOVERABLE: of a batch for each of its calls.
 * The message, made from fmt and cut at 1,023 bytes, and a backtrace are
 * result.value; result.status is 0.  The backtrace has the names of functions
 * only in programs linked with -rdynamic; with musl there is none.
 * A C++ catch (...) that swallows the unwinding does not undo the panic: the message
 * stays, a value that is set after it is destroyed at once, and sflight_call_alloc()
 * returns NULL.
 * With SFLIGHT_PANIC_ABORT, or if no fn of this call is running, they are
 * printed to stderr and the process aborts.
 */
SFLIGHT_NORETURN SFLIGHT_PUBLIC void sflight_panic(sflight_call *call, const char *fmt, ...)
    SFLIGHT_PRINTF(2, 3);

/* ------------------------------------------------------------ structs that grow */
/*
 * Later versions may add members at the end of sflight_options, sflight_stats,
 * sflight_info and sflight_result (and so of sflight_completion, which ends with one), under the
 * same soname.  Nothing is to be done about it: a program and a library of different versions agree
 * on what both know.  Members that the program knows and the library does not are 0; of
 * sflight_options they must be, or sflight_group_create() says -EINVAL.  The other structs stay as
 * they are.
 *
 * How: the functions above have the layouts of 0.1.0 for good, whether they are
 * called from a program built then, through a pointer, or by way of dlsym().  Where
 * this header's structs are larger, a call goes to the function of the same name with
 * _sized, which is told how large.  These are for this header and for bindings that
 * have no C compiler; each is as its namesake (sflight_do() has the one with a
 * deadline).  A callback gets its result, and a visit its info, in 128 bytes, zero
 * beyond what is known.
 */
#define SFLIGHT_SIZE_OPTIONS 120
#define SFLIGHT_SIZE_STATS 144
#define SFLIGHT_SIZE_RESULT 40
#define SFLIGHT_SIZE_COMPLETION 56

SFLIGHT_PUBLIC void sflight_options_init_sized(sflight_options *o, size_t size);
SFLIGHT_PUBLIC int sflight_group_stats_sized(sflight_group *g, sflight_stats *out, size_t size);
SFLIGHT_PUBLIC int sflight_do_until_sized(sflight_group *g, const void *key, size_t key_len,
                                          sflight_fn *fn, void *arg,
                                          const struct timespec *deadline, sflight_result *r,
                                          size_t size);
SFLIGHT_PUBLIC int sflight_do_many_sized(sflight_group *g, const sflight_key *keys, size_t n,
                                         sflight_many_fn *fn, void *arg,
                                         const struct timespec *deadline, sflight_result *r,
                                         int *rc, size_t size);
SFLIGHT_PUBLIC void sflight_result_release_sized(sflight_result *r, size_t size);
SFLIGHT_PUBLIC int sflight_result_retain_sized(const sflight_result *r, sflight_result *copy,
                                               size_t size);
SFLIGHT_PUBLIC int sflight_future_get_sized(sflight_future *f, const struct timespec *deadline,
                                            sflight_result *r, size_t size);
SFLIGHT_PUBLIC int sflight_future_poll_sized(sflight_future *f, sflight_result *r, size_t size);
SFLIGHT_PUBLIC int sflight_queue_drain_sized(sflight_queue *q, sflight_completion *out, unsigned n,
                                             size_t size);
SFLIGHT_PUBLIC void sflight_completions_release_sized(sflight_completion *c, unsigned n,
                                                      size_t size);

#if defined(__GNUC__) && !defined(SFLIGHT_PLAIN)
/* Inlined into calls, never emitted: the name is the library's, and so is its address. */
#define SFLIGHT_CALL extern __inline __attribute__((gnu_inline, always_inline, artificial))
/*
 * The library's function of that name.  To clang a function that calls one of its own name has no
 * body; \1, which is no part of a name, keeps the two apart.
 */
#ifdef __clang__
#define SFLIGHT_NAMED(name) __asm__("\1" #name)
#else
#define SFLIGHT_NAMED(name) __asm__(#name)
#endif

extern void sflight_options_init_0_1(sflight_options *o) SFLIGHT_NAMED(sflight_options_init);
extern int sflight_group_stats_0_1(sflight_group *g, sflight_stats *out)
    SFLIGHT_NAMED(sflight_group_stats);
extern int sflight_do_0_1(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                          void *arg, sflight_result *r) SFLIGHT_NAMED(sflight_do);
extern int sflight_do_until_0_1(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                void *arg, const struct timespec *deadline, sflight_result *r)
    SFLIGHT_NAMED(sflight_do_until);
extern int sflight_do_many_0_1(sflight_group *g, const sflight_key *keys, size_t n,
                               sflight_many_fn *fn, void *arg, const struct timespec *deadline,
                               sflight_result *r, int *rc) SFLIGHT_NAMED(sflight_do_many);
extern void sflight_result_release_0_1(sflight_result *r) SFLIGHT_NAMED(sflight_result_release);
extern int sflight_result_retain_0_1(const sflight_result *r, sflight_result *copy)
    SFLIGHT_NAMED(sflight_result_retain);
extern int sflight_future_get_0_1(sflight_future *f, const struct timespec *deadline,
                                  sflight_result *r) SFLIGHT_NAMED(sflight_future_get);
extern int sflight_future_poll_0_1(sflight_future *f, sflight_result *r)
    SFLIGHT_NAMED(sflight_future_poll);
extern int sflight_queue_drain_0_1(sflight_queue *q, sflight_completion *out, unsigned n)
    SFLIGHT_NAMED(sflight_queue_drain);
extern void sflight_completions_release_0_1(sflight_completion *c, unsigned n)
    SFLIGHT_NAMED(sflight_completions_release);

SFLIGHT_CALL void sflight_options_init(sflight_options *o)
{
    if (sizeof(*o) == SFLIGHT_SIZE_OPTIONS)
        sflight_options_init_0_1(o);
    else
        sflight_options_init_sized(o, sizeof(*o));
}

SFLIGHT_CALL int sflight_group_stats(sflight_group *g, sflight_stats *out)
{
    return sizeof(*out) == SFLIGHT_SIZE_STATS ? sflight_group_stats_0_1(g, out)
                                              : sflight_group_stats_sized(g, out, sizeof(*out));
}

SFLIGHT_CALL int sflight_do(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                            void *arg, sflight_result *r)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT
               ? sflight_do_0_1(g, key, key_len, fn, arg, r)
               : sflight_do_until_sized(g, key, key_len, fn, arg, NULL, r, sizeof(*r));
}

SFLIGHT_CALL int sflight_do_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                  void *arg, const struct timespec *deadline, sflight_result *r)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT
               ? sflight_do_until_0_1(g, key, key_len, fn, arg, deadline, r)
               : sflight_do_until_sized(g, key, key_len, fn, arg, deadline, r, sizeof(*r));
}

SFLIGHT_CALL int sflight_do_many(sflight_group *g, const sflight_key *keys, size_t n,
                                 sflight_many_fn *fn, void *arg, const struct timespec *deadline,
                                 sflight_result *r, int *rc)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT
               ? sflight_do_many_0_1(g, keys, n, fn, arg, deadline, r, rc)
               : sflight_do_many_sized(g, keys, n, fn, arg, deadline, r, rc, sizeof(*r));
}

SFLIGHT_CALL void sflight_result_release(sflight_result *r)
{
    if (sizeof(*r) == SFLIGHT_SIZE_RESULT)
        sflight_result_release_0_1(r);
    else
        sflight_result_release_sized(r, sizeof(*r));
}

SFLIGHT_CALL int sflight_result_retain(const sflight_result *r, sflight_result *copy)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT ? sflight_result_retain_0_1(r, copy)
                                             : sflight_result_retain_sized(r, copy, sizeof(*r));
}

SFLIGHT_CALL int sflight_future_get(sflight_future *f, const struct timespec *deadline,
                                    sflight_result *r)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT ? sflight_future_get_0_1(f, deadline, r)
                                             : sflight_future_get_sized(f, deadline, r, sizeof(*r));
}

SFLIGHT_CALL int sflight_future_poll(sflight_future *f, sflight_result *r)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT ? sflight_future_poll_0_1(f, r)
                                             : sflight_future_poll_sized(f, r, sizeof(*r));
}

SFLIGHT_CALL int sflight_queue_drain(sflight_queue *q, sflight_completion *out, unsigned n)
{
    return sizeof(*out) == SFLIGHT_SIZE_COMPLETION
               ? sflight_queue_drain_0_1(q, out, n)
               : sflight_queue_drain_sized(q, out, n, sizeof(*out));
}

SFLIGHT_CALL void sflight_completions_release(sflight_completion *c, unsigned n)
{
    if (sizeof(*c) == SFLIGHT_SIZE_COMPLETION)
        sflight_completions_release_0_1(c, n);
    else
        sflight_completions_release_sized(c, n, sizeof(*c));
}
#endif

#ifdef __cplusplus
}
#endif
#endif /* SFLIGHT_H */
