/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chaos_log.h - what the processes of chaos write down, in memory that outlives them, and the
 * oracle that reads it when all have ended.
 *
 * Whatever was done to processes and engine:
 *
 *   value     a value is that of a run for the caller's key, whole, with that run's status
 *   again     nobody gets a run with which somebody of its own process had returned before it
 *             began; of another process, but where the process had two calls for the key
 *   fresh     a process that gets a run of another one had asked before anybody outside the run's
 *             process had it; and at most two leases after fn had returned
 *   forgotten nobody outside its process who came after a forget gets a run begun before it
 *   overlap   of two runs for a key that overlap, one has a counter that explains it; a run whose
 *             process was killed before it could count is explained
 *   deadline  only callers with a deadline are timed out, and not before it; no call is left
 *   books     the numbers of a process that ends add up with its calls and runs
 *
 * Moments are those of CLOCK_MONOTONIC, which processes of a machine share.
 */
#ifndef CHAOS_LOG_H
#define CHAOS_LOG_H

#include "fleet_test.h"

enum {
    KEYS = 4,
    TIMELESS_KEYS = 2, /* the first ones: their callers have no deadline */
    THREADS = 4,
    PROCESSES = 8,
    INCARNATIONS = 64, /* of processes, in one round */
    MAX_CALLS = 400000,
    MAX_RUNS = 200000,
    MAX_FORGETS = 20000,
    LEASE_MS = 500,
};

#define MS_NS UINT64_C(1000000)

struct run {
    uint16_t incarnation;
    uint8_t key;
    int status;
    uint32_t call;
    uint64_t begin_ns, explained_before;
    atomic_uint_least64_t end_ns; /* 0: has not returned */
};

struct call {
    uint16_t incarnation;
    uint8_t key;
    bool is_value, leader; /* is_value: the bytes are those that their run has written */
    int rc, status;
    uint32_t run;
    uint64_t begin_ns, deadline_ns; /* 0: none */
    atomic_uint_least64_t end_ns;   /* 0: has not returned */
};

struct forget {
    uint8_t key;
    int rc;
    uint64_t begin_ns;
    atomic_uint_least64_t end_ns;
};

/* What a process has counted for a key, when it led no flight for it. */
struct sample {
    uint16_t incarnation;
    uint8_t key;
    uint64_t explained;
    atomic_uint_least64_t ns;
};

struct incarnation {
    pid_t pid;
    uint64_t killed_ns;
    atomic_bool has_closed;
    atomic_bool is_connected;
    atomic_bool is_unsettled[KEYS];
    atomic_uint n_ended[THREADS];
    sflight_fleet_counters counters[KEYS]; /* when it has closed */
};

struct log {
    atomic_bool stop;
    atomic_int hold[KEYS]; /* the next run is held: HOLD_... */
    atomic_uint held_run[KEYS], n_timed_out[KEYS];
    atomic_uint n_calls, n_runs, n_forgets, n_samples;
    unsigned n_incarnations;
    uint64_t persisted_ns[KEYS]; /* when a slot has last been made to stay */
    struct incarnation incarnations[INCARNATIONS];
    struct call calls[MAX_CALLS];
    struct run runs[MAX_RUNS];
    struct forget forgets[MAX_FORGETS];
    struct sample samples[MAX_RUNS + INCARNATIONS * KEYS];
};

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Runs beyond their flight, as the process knows. */
static inline uint64_t explained_runs(const sflight_fleet_counters *c)
{
    return fleet_alone_calls(c) + c->leases_lost + c->refused + c->unpublished + c->aged +
           c->forgotten;
}

/* ---------------------------------------------------------------- oracle */

struct oracle {
    const struct log *log;
    unsigned n_calls, n_runs, n_wrong;
    unsigned n_overlaps, n_received;
    uint64_t latest_ns; /* of callers with a deadline that did not run fn: how late after it */
    const struct call **by_run; /* calls that got a value, by run and process */
    unsigned n_by_run;
};

__attribute__((format(printf, 2, 3))) static inline void wrong(struct oracle *o, const char *format,
                                                               ...)
{
    va_list args;
    if (o->n_wrong++ >= 20)
        return;
    printf("# wrong: ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static inline uint64_t run_end(const struct log *log, const struct run *r)
{
    return r->end_ns != 0 ? r->end_ns : log->incarnations[r->incarnation].killed_ns;
}

static inline unsigned count_below(unsigned n, unsigned max)
{
    return n < max ? n : max;
}

static inline void check_call(struct oracle *o, const struct call *c, unsigned i)
{
    const struct incarnation *in = &o->log->incarnations[c->incarnation];
    if (c->end_ns == 0) {
        if (in->killed_ns == 0)
            wrong(o, "deadline: call %u of process %u has never returned", i, c->incarnation);
        return;
    }
    if (c->deadline_ns != 0 && !c->leader && c->end_ns > c->deadline_ns &&
        c->end_ns - c->deadline_ns > o->latest_ns)
        o->latest_ns = c->end_ns - c->deadline_ns;
    if (c->rc == -ETIMEDOUT && c->deadline_ns != 0 && c->end_ns >= c->deadline_ns)
        return;
    if (c->rc != 0) {
        wrong(o, "deadline: call %u of process %u: %d", i, c->incarnation, c->rc);
        return;
    }
    if (!c->is_value || c->run >= o->n_runs) {
        wrong(o, "value: call %u has bytes of no run", i);
        return;
    }
    const struct run *r = &o->log->runs[c->run];
    if (r->key != c->key || r->status != c->status)
        wrong(o, "value: call %u for key %u has run %u for key %u", i, c->key, c->run, r->key);
    if (c->leader && r->incarnation != c->incarnation)
        wrong(o, "value: call %u says that it led run %u", i, c->run);
    o->n_received += !c->leader && r->incarnation != c->incarnation;
    o->by_run[o->n_by_run++] = c;
}

static inline int compare_by_run(const void *a, const void *b)
{
    const struct call *x = *(const struct call *const *)a, *y = *(const struct call *const *)b;
    if (x->run != y->run)
        return x->run < y->run ? -1 : 1;
    return (x->incarnation > y->incarnation) - (x->incarnation < y->incarnation);
}

/* Callers of one process that got one run. */
struct callers {
    unsigned incarnation;
    uint64_t first_begin, last_begin, first_end;
};

/* Of a process that was killed its first caller may not have written its return down. */
static inline void add_unreturned(const struct oracle *o, struct callers *c, const struct run *r)
{
    if (o->log->incarnations[c->incarnation].killed_ns == 0)
        return;
    for (unsigned i = 0; i < o->n_calls; i++) {
        const struct call *call = &o->log->calls[i];
        if (call->end_ns == 0 && call->incarnation == c->incarnation && call->key == r->key &&
            call->begin_ns != 0 && call->begin_ns < c->first_begin)
            c->first_begin = call->begin_ns;
    }
}

/* What lasted from begin to end (0: it has not ended) was there at some time between the others. */
static inline bool was_there(uint64_t begin_ns, uint64_t end_ns, uint64_t from_ns, uint64_t to_ns)
{
    return begin_ns <= to_ns && (end_ns == 0 || end_ns >= from_ns);
}

/*
 * The process may have two calls for the key, of which one waits a moment longer: after a forget,
 * or when it has itself led a flight that came to be void.
 */
static inline bool has_two_calls(const struct oracle *o, const struct callers *c, unsigned key)
{
    unsigned n = count_below(o->log->n_forgets, MAX_FORGETS);
    for (unsigned i = 0; i < n; i++) {
        const struct forget *f = &o->log->forgets[i];
        if (f->key == key && was_there(f->begin_ns, f->end_ns, c->first_begin, c->last_begin))
            return true;
    }
    for (unsigned i = 0; i < o->n_runs; i++) {
        const struct run *r = &o->log->runs[i];
        if (r->key == key && r->incarnation == c->incarnation &&
            was_there(r->begin_ns, r->end_ns, c->first_begin, c->last_begin))
            return true;
    }
    return false;
}

static inline void check_forgotten(struct oracle *o, const struct callers *c, uint32_t run)
{
    const struct run *r = &o->log->runs[run];
    unsigned n = count_below(o->log->n_forgets, MAX_FORGETS);
    for (unsigned i = 0; i < n; i++) {
        const struct forget *f = &o->log->forgets[i];
        if (f->end_ns != 0 && f->rc >= 0 && f->key == r->key && r->begin_ns < f->begin_ns &&
            c->first_begin > f->end_ns)
            wrong(o, "forgotten: process %u has run %u of process %u", c->incarnation, run,
                  r->incarnation);
    }
}

/* What was done with the key about then, and by whom, in us from the first caller's begin on. */
static inline void tell_around(const struct oracle *o, const struct callers *c, uint32_t run)
{
    const struct log *log = o->log;
    const struct run *of = &log->runs[run];
    uint64_t from = c->first_begin - 20 * MS_NS, to = c->last_begin + 20 * MS_NS;
#define US(ns) ((int64_t)((ns)-c->first_begin) / 1000)
    for (unsigned i = 0; i < o->n_calls; i++) {
        const struct call *k = &log->calls[i];
        if (k->key == of->key && k->incarnation == c->incarnation &&
            was_there(k->begin_ns, k->end_ns, from, to))
            printf("# call %u: %jd to %jd, %d, run %u%s\n", i, (intmax_t)US(k->begin_ns),
                   (intmax_t)US(k->end_ns), k->rc, k->run, k->leader ? ", led" : "");
    }
    for (unsigned i = 0; i < o->n_runs; i++) {
        const struct run *r = &log->runs[i];
        if (r->key == of->key && was_there(r->begin_ns, run_end(log, r), from, to))
            printf("# run %u of process %u: %jd to %jd\n", i, r->incarnation,
                   (intmax_t)US(r->begin_ns), (intmax_t)US(run_end(log, r)));
    }
    for (unsigned i = 0; i < count_below(log->n_forgets, MAX_FORGETS); i++) {
        const struct forget *f = &log->forgets[i];
        if (f->key == of->key && was_there(f->begin_ns, f->end_ns, from, to))
            printf("# forgotten: %jd to %jd, %d\n", (intmax_t)US(f->begin_ns),
                   (intmax_t)US(f->end_ns), f->rc);
    }
#undef US
}

static inline void check_run(struct oracle *o, uint32_t run, struct callers *c, unsigned n)
{
    const struct run *r = &o->log->runs[run];
    uint64_t first_end = UINT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        bool is_own = c[i].incarnation == r->incarnation;
        if (c[i].last_begin > c[i].first_end && (is_own || !has_two_calls(o, &c[i], r->key))) {
            wrong(o, "again: a caller of process %u has run %u, with which another had returned",
                  c[i].incarnation, run);
            tell_around(o, &c[i], run);
        }
        if (is_own)
            continue;
        add_unreturned(o, &c[i], r);
        if (c[i].first_end < first_end)
            first_end = c[i].first_end;
    }
    for (unsigned i = 0; i < n; i++) {
        if (c[i].incarnation == r->incarnation)
            continue;
        if (r->end_ns == 0)
            wrong(o, "fresh: run %u has not ended and is known in process %u", run,
                  c[i].incarnation);
        if (c[i].first_begin > first_end)
            wrong(o, "fresh: process %u asked for run %u when others had it", c[i].incarnation,
                  run);
        if (c[i].first_begin > r->end_ns + (2 * LEASE_MS + 5) * MS_NS &&
            o->log->persisted_ns[r->key] < r->begin_ns)
            wrong(o, "fresh: process %u asked for run %u more than two leases after its end",
                  c[i].incarnation, run);
        check_forgotten(o, &c[i], run);
    }
}

static inline void check_runs(struct oracle *o)
{
    qsort(o->by_run, o->n_by_run, sizeof(void *), compare_by_run);
    for (unsigned i = 0; i < o->n_by_run;) {
        struct callers callers[INCARNATIONS];
        uint32_t run = o->by_run[i]->run;
        unsigned n = 0;
        for (; i < o->n_by_run && o->by_run[i]->run == run; i++) {
            const struct call *c = o->by_run[i];
            if (n == 0 || callers[n - 1].incarnation != c->incarnation)
                callers[n++] = (struct callers){c->incarnation, UINT64_MAX, 0, UINT64_MAX};
            struct callers *of = &callers[n - 1];
            if (c->begin_ns < of->first_begin)
                of->first_begin = c->begin_ns;
            if (c->begin_ns > of->last_begin)
                of->last_begin = c->begin_ns;
            if (c->end_ns < of->first_end)
                of->first_end = c->end_ns;
        }
        check_run(o, run, callers, n);
    }
}

/* Counted in its process by the time that this led nothing more for the key; or nobody knows. */
static inline bool is_explained(const struct oracle *o, const struct run *r)
{
    const struct sample *settled = NULL;
    unsigned n = count_below(o->log->n_samples, LENGTH(o->log->samples));
    if (r->end_ns == 0)
        return true;
    for (unsigned i = 0; i < n; i++) {
        const struct sample *s = &o->log->samples[i];
        if (s->ns >= r->end_ns && s->incarnation == r->incarnation && s->key == r->key &&
            (settled == NULL || s->ns < settled->ns))
            settled = s;
    }
    return settled == NULL ? o->log->incarnations[r->incarnation].killed_ns != 0
                           : settled->explained > r->explained_before;
}

static inline int compare_begins(const void *a, const void *b)
{
    const struct run *x = *(const struct run *const *)a, *y = *(const struct run *const *)b;
    return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static inline void check_overlaps(struct oracle *o)
{
    const struct run **runs = malloc((o->n_runs + 1) * sizeof *runs);
    const struct run *open[INCARNATIONS * THREADS];
    assert_non_null(runs);
    for (unsigned key = 0; key < KEYS; key++) {
        unsigned n = 0, n_open = 0;
        for (unsigned i = 0; i < o->n_runs; i++)
            if (o->log->runs[i].begin_ns != 0 && o->log->runs[i].key == key)
                runs[n++] = &o->log->runs[i];
        qsort(runs, n, sizeof *runs, compare_begins);
        for (unsigned i = 0; i < n; i++) {
            unsigned kept = 0;
            for (unsigned k = 0; k < n_open; k++)
                if (run_end(o->log, open[k]) > runs[i]->begin_ns)
                    open[kept++] = open[k];
            n_open = kept;
            bool explained = n_open == 0 || is_explained(o, runs[i]);
            o->n_overlaps += n_open > 0;
            for (unsigned k = 0; !explained && k < n_open; k++)
                if (!is_explained(o, open[k]))
                    wrong(o, "overlap: runs %u and %u, of processes %u and %u, for key %u",
                          (unsigned)(open[k] - o->log->runs), (unsigned)(runs[i] - o->log->runs),
                          open[k]->incarnation, runs[i]->incarnation, key);
            open[n_open++] = runs[i];
        }
    }
    free(runs);
}

static inline void check_books(struct oracle *o, unsigned incarnation, unsigned key)
{
    const sflight_fleet_counters *c = &o->log->incarnations[incarnation].counters[key];
    uint64_t calls = 0, runs = 0, without_fn = 0, ended = fleet_ended_calls(c);
    for (unsigned i = 0; i < o->n_calls; i++)
        if (o->log->calls[i].incarnation == incarnation && o->log->calls[i].key == key &&
            o->log->calls[i].begin_ns != 0) {
            calls++;
            without_fn += o->log->calls[i].rc == 0 && !o->log->calls[i].leader;
        }
    for (unsigned i = 0; i < o->n_runs; i++)
        runs += o->log->runs[i].incarnation == incarnation && o->log->runs[i].key == key &&
                o->log->runs[i].begin_ns != 0;
#define BOOKS(holds)                                                                               \
    if (!(holds))                                                                                  \
    wrong(o, "books: not so in process %u for key %u: " #holds, incarnation, key)
    BOOKS(c->led + fleet_alone_calls(c) == runs);
    BOOKS(c->led == c->published + c->refused + c->unpublished + c->unshared);
    BOOKS(c->received <= without_fn);
    /* A caller that follows, and goes on when its leader leaves at a deadline, is in both. */
    BOOKS(key < TIMELESS_KEYS ? ended + c->joined == calls
                              : ended + c->joined >= calls && ended <= calls);
    BOOKS(key >= TIMELESS_KEYS || c->timed_out == 0);
    BOOKS(c->leading + c->waiting == 0);
    BOOKS(c->bytes == 0);
#undef BOOKS
}

/* Of a log in which nobody writes any more; says what is wrong. */
static inline void oracle_check(struct oracle *o, const struct log *log)
{
    *o = (struct oracle){.log = log,
                         .n_calls = count_below(log->n_calls, MAX_CALLS),
                         .n_runs = count_below(log->n_runs, MAX_RUNS)};
    o->by_run = malloc((o->n_calls + 1) * sizeof *o->by_run);
    assert_non_null(o->by_run);
    for (unsigned i = 0; i < o->n_calls; i++)
        if (log->calls[i].begin_ns != 0) /* else it was killed before it came to that */
            check_call(o, &log->calls[i], i);
    check_runs(o);
    check_overlaps(o);
    for (unsigned i = 0; i < log->n_incarnations; i++)
        for (unsigned key = 0; log->incarnations[i].has_closed && key < KEYS; key++)
            check_books(o, i, key);
    free(o->by_run);
}

#endif
