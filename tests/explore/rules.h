/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What scenarios are written in: callers that ask for a key, and the rules that
 * every answer must keep, whatever the schedule.
 *
 *   - two runs of fn for a key overlap only if the key was forgotten between (I2), and
 *     then the forget comes before the second; otherwise the first does;
 *   - nobody gets the result of a call of which somebody had returned before it
 *     began (I3), or which had been forgotten before it began (I4), or an older one than
 *     that of a call that had ended before it began (I1);
 *   - nobody leads or gets anything who began after the group had been closed;
 *     who has drained it finds no run that had begun before;
 *   - one leader for each run; the same number of followers told to all, also to who
 *     ends it by a permit: those who get its result, and of those who left no more than
 *     may have been there when it closed (I5);
 *   - of those who leave a call to nobody one is told that it was the last, and nobody
 *     is while another waits; the callback for that comes once, and not after the end;
 *     with cancel_unwanted nobody gets the result of what it was called for;
 *   - what was given to a callback comes once, and what was taken back does not;
 *   - a value is what its run wrote, is destroyed once, and after its last hold;
 *   - fn, destroy and callbacks run outside of sections; a callback on the thread that ends
 *     the call, or on that which asks for it;
 *   - with options.durations each call that has ended has one;
 *   - at the end nothing is in flight, waiting or held, the group can be
 *     destroyed, and all memory and descriptors have been given back.
 */
#ifndef EXPLORE_RULES_H
#define EXPLORE_RULES_H

#include "../../include/singleflight.h"

#include <stdbool.h>
#include <stdint.h>

/* How fn leaves; ABANDONS: it returns, after sflight_call_abandon(). */
enum way { RETURNS, PANICS, EXITS, ABANDONS };

/* Besides 0, which answers are right. */
enum may {
    MAY_TIME_OUT = 1,
    MAY_BE_DEAD = 2,
    MAY_PANIC = 4,
    MAY_DEADLOCK = 8,
    MAY_BE_SHUT = 16,
    MAY_BE_FULL = 32,
};

struct run;

/* One caller: what it asks for, and what became of it. */
struct ask {
    const char *key;
    uint64_t patience_ns; /* 0: no deadline; else one so far from now */
    enum way way;
    void (*inside)(struct ask *ask); /* in fn */
    struct ask *inner;               /* asked in fn */
    bool bare;                       /* fn sets no value */
    bool allocs;                     /* fn has the group allocate the value */
    unsigned may;
    struct ask *first; /* of the same batch, for the same key */
    /* out */
    int rc;
    sflight_result r;
    sflight_call *permit;
    sflight_future *future;
    struct run *run; /* whose result it has, or which it leads */
    uint64_t begun, joined, leaving,
        gone; /* steps; joined: it has a future; gone: it waits no more */
    int thread;
    int then_on; /* the thread that asked for a callback */
    bool led, over;
    unsigned n_holds;
    bool async;   /* by ask_begin() or ask_start() */
    bool own;     /* it has had a future on the call that it leads */
    bool given;   /* to a callback or a queue */
    bool awaited; /* a callback is to come */
    bool last;    /* it was told that it left the call to nobody */
    bool dropped;
    sflight_queue *queue; /* that it was given to */
};

/* One run of fn, or of a permit. */
struct run {
    struct ask *leader;
    const char *key;
    /* Steps; 0: not yet.  Over: the permit is gone; listens: the leader is to be told that the call
       is unwanted, and when it was. */
    uint64_t claimed_after, begun, ended, first_return, over, listens, unwanted;
    struct clock end;
    struct clock called; /* what the callback has done with what it was given */
    bool has_value, has_destroy, left, after_forget;
    bool promised; /* its leader was told that nobody gets its result */
    int thread;    /* that runs fn, or got the permit */
    int ender;     /* the thread that ended it */
    int told;      /* in the message of a panic; 0: none */
    unsigned n_destroyed, n_leaders, n_followers, holds;
    int64_t followers; /* as told; -1: not yet */
};

extern struct world {
    sflight_group *group;
    unsigned may; /* as of each ask, for all */
    bool forgets; /* runs may overlap where the rules cannot see why */
    bool cancels; /* options.cancel_unwanted */
    bool takes_over;
    bool leaks;   /* threads have vanished: so has what they had in hand */
    bool settled; /* the scenario has destroyed the group by itself */
    bool shut;    /* no run may begin any more */
} world;

/* The options of a small group; then change some and begin. */
sflight_options world_options(void);
void world_begin(const sflight_options *options);
/* All threads have ended.  Looks at everything, and destroys the group. */
void world_end(void);

/*
 * Forks, as door_fork().  What others lead does not exist in the child.  Futures that they had, or
 * were about to get, keep the group in use there, and nobody can give them up; what they held may.
 */
void world_fork(void);
/* n completions of this thread's were in the hands of others: they count as held for good. */
void world_loses(unsigned n);
/* Closes the group, as often as one likes. */
void world_close(void);
/* Waits until all runs have ended that are under way; 0 ns: no deadline. */
void world_drain(uint64_t patience_ns);

/* Threads of the scenario. */
int go(void (*body)(void *arg), void *arg);
void join_all(void);

/* sflight_do[_until]; then the release as well. */
void ask_result(struct ask *ask);
void ask_release(struct ask *ask);
void ask_whole(void *ask);
void ask_retain(struct ask *ask); /* a second hold, which outlives the first one, and its release */
void ask_many(struct ask *asks, unsigned n); /* one batch */

/* sflight_begin: then there is a permit or a future, or rc is not 0. */
void ask_begin(struct ask *ask);
void ask_complete(struct ask *ask);
void ask_begin_and_complete(struct ask *ask); /* who leads completes at once */
void complete_permit(void *ask);              /* ask_complete() and nothing else, for go() */
void come_and_go(void *ask);                  /* the same of ask_begin_and_complete(), and waits */
void ask_abandon(struct ask *ask);
void ask_on_unwanted(struct ask *ask); /* sflight_call_on_unwanted, of a permit, once */
bool ask_unwanted(struct ask *ask);    /* sflight_call_unwanted, of a permit */
/* sflight_begin_enqueue: then a completion comes, to the one with a permit as well; or false. */
bool ask_begin_enqueue(struct ask *ask, sflight_queue *queue);
/* sflight_call_future: the permit holder's own; false: there was no memory. */
bool ask_own_future(struct ask *ask);
/* sflight_future_cancel: true if it will not come. */
bool ask_cancel(struct ask *ask);
/* sflight_start: then there is a future, or rc is not 0. */
void ask_start(struct ask *ask);
void ask_get(struct ask *ask);         /* false answers: -ETIMEDOUT leaves the future */
bool ask_poll(struct ask *ask);        /* true: answered */
void ask_by_fd(struct ask *ask);       /* waits by its future's descriptor, and releases */
bool ask_drop(struct ask *ask);        /* true: the last that waited */
void ask_get_or_drop(struct ask *ask); /* got and released; dropped at its deadline; or nothing */
void ask_then(struct ask *ask);        /* answered and released in the callback, `over` is set */
/* False if there was no memory: the future has been dropped. */
bool ask_enqueue(struct ask *ask, sflight_queue *queue);
/* Drains once; the tags are asks.  Returns how many. */
unsigned ask_drain(sflight_queue *queue);

int forget(const char *key, bool unshared);

/* How many calls have a duration. */
uint64_t n_timed(const sflight_stats *stats);

/* How many runs there have been, and how many of them have not ended. */
unsigned n_runs(void);
unsigned n_running(void);

/* Another thread may go on. */
void pause_here(void);
/* Sleeps until somebody calls reached() with it. */
void until(const bool *flag);
void reached(bool *flag);

/* One of n, where schedules are random; otherwise the first. */
unsigned variant(unsigned n);

/* A clean one of a few that there are. */
struct ask *fresh(unsigned i, const char *key);
enum {
    MAX_ASKS = 64,
    SHORT_NS = 300, /* a patience that may end before the call does */
};
extern struct ask asks[MAX_ASKS];

struct scenario {
    const char *name; /* NULL ends a list */
    void (*body)(void);
    unsigned percent;     /* of the seeds that others get; 0: none */
    unsigned preemptions; /* bound of the exhaustive search; 0: none; with both 0: stall_next() */
};
extern const struct scenario scenarios_blocking[], scenarios_async[], scenarios_life[],
    scenarios_tasks[], scenarios_alone[], scenarios_stall[];

/* Of scenarios_stall[], whose seeds mean something: the one after this; 0: that was the last. */
uint64_t stall_next(uint64_t seed);

#endif
