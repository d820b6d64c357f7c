/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A deterministic scheduler.  All logical threads of a test are coroutines of
 * one thread of the system; they switch only at the points of this file, and
 * every decision, who goes on and what goes wrong, is drawn from one source:
 * so the source's seed repeats the whole run.
 *
 * It knows nothing of the library.  Threads that sleep do so on a key, which is
 * any address: futexes, mutexes and whatever else parks are made of that.
 */
#ifndef EXPLORE_SCHED_H
#define EXPLORE_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_THREADS = 16 }; /* of one run */

#define NEVER UINT64_MAX

#define SITE_TEXT_OF(x) #x
#define SITE_TEXT(x) SITE_TEXT_OF(x)
#define SITE __FILE__ ":" SITE_TEXT(__LINE__)

/* Where the decisions come from. */
enum strategy {
    BY_RANDOM,     /* at each point with some chance another thread */
    BY_PRIORITY,   /* PCT: the first of a random order, which changes at a few random points */
    BY_EXHAUSTION, /* every schedule with at most so many preemptions, one after the other */
    BY_BYTES,      /* as a fuzzer says */
};

struct sched_plan {
    enum strategy strategy;
    uint64_t seed;        /* of BY_RANDOM, BY_PRIORITY, and of what BY_BYTES does not say */
    unsigned preemptions; /* bound, of BY_EXHAUSTION */
    const uint8_t *bytes; /* of BY_BYTES */
    size_t n_bytes;
    bool calm;  /* nothing goes wrong: no spurious wakes, no failures, no old values */
    bool trace; /* print each step */
};

/* What a run may look at, and the floors above set. */
struct sched {
    struct sched_plan plan;
    int self;         /* the running thread */
    uint64_t n_steps; /* points passed */
    uint64_t now_ns;  /* virtual time */
    bool counters;    /* counting is a point, too */
};
extern struct sched sched;

/* Runs body as thread 0, and whatever it spawns, to the end. */
void sched_run(const struct sched_plan *plan, void (*body)(void *arg), void *arg);

/* After a run BY_EXHAUSTION: is there a next one?  sched_run() then does that. */
bool sched_next(void);
void sched_forget_choices(void);
/* Says and sets where such a run departs from the first one: "12:1,40:2". */
void sched_print_choices(char *text, size_t size);
bool sched_set_choices(const char *text);

/* A new thread, which begins at some later point; -1 if there are too many. */
int sched_spawn(void (*body)(void *arg), void *arg);
void sched_join(int thread);
bool sched_ended(int thread);

/* Ends the calling thread from anywhere, unwinding its stack. */
_Noreturn void sched_exit(void);

/* All other threads vanish where they stand: what a forked child sees. */
void sched_only_self(void);

/*
 * Stalls: the calling thread passes so many more points, and then stands still, as one that others
 * preempt for good.  It goes on by sched_unstall(); or by itself as soon as the others cannot go on
 * without it: all sleep, and for ever, or turn in a circle.  One such thread in a run.
 */
void sched_stall(unsigned after);
void sched_stall_not(void); /* after all, unless it has */
bool sched_stalled(void);   /* does, or did, it stand still? */
bool sched_awaited(void);   /* did it have to go on for the others? */
void sched_unstall(void);
/* A point at which it may stall, and nothing else happens. */
void sched_stall_point(const char *site);
/* Names the function that is about to pass a point; and the last that a thread has so passed. */
extern const char *sched_function;
const char *sched_function_of(int thread);

/* Sleeps until all others sleep, have ended or are stalled; time does not pass for that. */
void sched_settle(void);

/* Is this in a frame of another thread's stack that has been left?  A point, if another's. */
bool sched_stack_gone(const volatile void *p);

/* Somebody else may go on here. */
void sched_point(const char *site);
/* Somebody else should, if there is anybody. */
void sched_yield_point(const char *site);

enum woken { WOKEN, WOKEN_BY_TIME, WOKEN_BY_NOBODY };

/*
 * Sleeps until somebody wakes the key, the time has come (NEVER: does not), or,
 * if `spurious`, for no reason.
 */
enum woken sched_sleep(const void *key, uint64_t until_ns, bool spurious, const char *site);
/* Wakes at most n threads, first come first served. */
unsigned sched_wake(const void *key, unsigned n);
/* The same, of these threads only. */
unsigned sched_wake_of(const void *key, unsigned n, uint64_t threads);

/* One of 0..n-1. */
unsigned sched_choose(unsigned n);
/* Does something go wrong here?  Once in so many times. */
bool sched_mishap(unsigned once_in);

/* For the report of a failure: what a thread is about to do. */
void sched_note(const char *site, const char *what, const volatile void *address, uint64_t value);

/* The run has failed: reports and ends the process. */
_Noreturn void explore_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition) ((condition) ? (void)0 : explore_fail("%s: %s", SITE, #condition))

/* Hooks of the floors above: a thread begins (in its creator), has ended (in itself). */
extern void (*sched_thread_begins)(int thread);
extern void (*sched_thread_ends)(int thread);
extern void (*sched_thread_joined)(int thread);
extern void (*sched_thread_runs)(int thread);
/* One is about to stand still, or to go on for the others. */
extern void (*sched_thread_stalls)(int thread, bool awaited);
/* Ends the process after a failure, having said how to repeat it. */
extern void (*sched_failed)(void);

#endif
