/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history_stress DIRECTORY   writes histories, for history_check
 *
 * Threads do everything at random with a few keys, of which the odd ones are
 * forgotten now and then, and note what they see.  The notes are not shared, and
 * the clock that they are stamped with orders nothing, so that taking them hides
 * as little as possible.  SFLIGHT_TEST_SEED=n repeats the choices of a run.
 */
#include "../lib/load.h"
#include "history.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <singleflight.h>

enum { MAX_THREADS = 16, MAX_BATCH = 3, LOT = 16, UNSET = -1 };

struct mixture {
    const char *name;
    unsigned threads, keys, ops; /* ops: of each thread */
    unsigned events;             /* of 64 ops: begin or start */
    bool failures;
    bool unwanted; /* cancel_unwanted; nothing else forgets, and only who drops a future leaves */
    sflight_options options;
};

struct caller {
    int kind, outcome;
    unsigned key;
    long exec;
    long followers; /* -1: not told */
    int64_t began;
    int64_t returned;
    sflight_future *future; /* for who cancels it */
    atomic_uint answers;
    _Atomic(int64_t) released; /* -1: not */
};

struct exec {
    unsigned key;
    int how;
    long leader;
    int64_t began, ended;
    atomic_uint destroyed;
    int64_t destroyed_at; /* the first time */
    int64_t over;         /* -1: no permit */
    long followers;       /* as who ended it was told; -1: no permit */
    atomic_uint told;
};

struct forgetting {
    unsigned key;
    bool unshared;
    int answer;
    int64_t began, returned;
};

struct hold {
    struct caller *caller;
    sflight_result result;
};

struct permit {
    struct caller *caller;
    struct exec *exec;
    sflight_call *call;
    sflight_future *called_back; /* its holder's own, given to a callback; NULL: none */
};

struct worker {
    struct world *w;
    uint64_t random;
    unsigned ops_left;
    pthread_t supervisor;
    struct caller *callers;      /* its share of all */
    size_t n_callers, n_settled; /* settled: their threads have not ended inside */
    struct forgetting *forgettings;
    size_t n_forgettings;
};

static struct world {
    const struct mixture *m;
    sflight_group *g;
    sflight_queue *queue;
    atomic_ulong enqueued;
    unsigned long drained;
    struct caller *callers;
    size_t share; /* of each worker */
    struct exec *execs;
    atomic_long n_execs;
    size_t max_execs;
    struct worker workers[MAX_THREADS];
    _Atomic(struct hold *) lot[LOT];
    _Atomic(struct permit *) permits[LOT];
    _Atomic(struct caller *) hang_ups[LOT]; /* enqueued, to be taken back */
    atomic_bool stop;
} world;

static _Thread_local uint64_t *random_state;
static _Thread_local uint64_t random_of_started;

static unsigned pick(unsigned n)
{
    return random_pick(random_state, n);
}

static void *must_alloc(size_t n, size_t size)
{
    void *p = calloc(n, size);
    MUST(p != NULL);
    return p;
}

/* ---------------------------------------------------------------- values */

static void exec_destroyed(void *value, size_t size, void *ctx)
{
    struct exec *e = value;
    (void)size, (void)ctx;
    if (atomic_fetch_add(&e->destroyed, 1) == 0)
        e->destroyed_at = now_ns();
}

static struct exec *exec_new(sflight_call *call, struct caller *leader, int64_t began)
{
    long id = atomic_fetch_add_explicit(&world.n_execs, 1, memory_order_relaxed);
    MUST((size_t)id < world.max_execs);
    struct exec *e = &world.execs[id];
    e->key = leader->key;
    e->how = HOW_DIED; /* unless something else turns out */
    e->leader = leader - world.callers;
    e->began = began;
    e->over = e->followers = -1;
    if (leader->kind != KIND_START)
        leader->exec = id;
    sflight_call_set(call, e, sizeof *e, exec_destroyed, NULL);
    return e;
}

static void hold_end(struct hold *h)
{
    if (h == NULL)
        return;
    int64_t at = now_ns(), last = atomic_load(&h->caller->released);
    while (last < at && !atomic_compare_exchange_weak(&h->caller->released, &last, at))
        ;
    sflight_result_release(&h->result);
    free(h);
}

/* --------------------------------------------------------------- leaders */

static void told_unwanted(void *arg)
{
    struct exec *e = arg;
    atomic_fetch_add(&e->told, 1);
}

struct inside {
    struct exec *execs[MAX_BATCH];
    size_t n;
};

/* However fn is left. */
static void inside_end(struct inside *in)
{
    int64_t at = now_ns();
    for (size_t i = 0; i < in->n; i++)
        in->execs[i]->ended = at;
}

static struct caller *caller_of(struct caller *callers, const sflight_call *call)
{
    unsigned key;
    memcpy(&key, sflight_call_key(call, NULL), sizeof key);
    while (callers->key != key) /* it is one of them */
        callers++;
    return callers;
}

static _Noreturn void panic_with(sflight_call *call, const struct inside *in)
{
    char text[MAX_BATCH * 64] = "";
    for (size_t i = 0; i < in->n; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "key %u is execution %zd, ", in->execs[i]->key,
                 in->execs[i] - world.execs);
    }
    sflight_panic(call, "%s", text);
}

static int lead_some(sflight_call *const *calls, size_t n, struct caller *callers)
{
    int64_t began = now_ns();
    struct inside in __attribute__((cleanup(inside_end))) = {.n = 0};
    MUST(n >= 1 && n <= MAX_BATCH);
    for (; in.n < n; in.n++)
        in.execs[in.n] = exec_new(calls[in.n], caller_of(callers, calls[in.n]), began);
    if (callers->kind == KIND_START && pick(2) == 0)
        sflight_call_on_unwanted(calls[0], told_unwanted, in.execs[0]);
    for (unsigned i = pick(4); i > 0; i--)
        sched_yield();
    switch (world.m->failures ? pick(48) : 48) {
    case 0:
    case 1:
        for (size_t i = 0; i < n; i++)
            in.execs[i]->how = HOW_PANICKED;
        panic_with(calls[0], &in);
    case 2:
        pthread_exit(NULL);
    case 3:
        pthread_cancel(pthread_self());
        pthread_testcancel();
        break;
    case 4:
        if (callers->kind == KIND_START) { /* the others answer for it themselves */
            sflight_call_abandon(calls[0]);
            return 0;
        }
        break;
    default:
        break;
    }
    for (size_t i = 0; i < n; i++)
        in.execs[i]->how = HOW_RETURNED;
    return 0;
}

static int lead(sflight_call *call, void *arg)
{
    return lead_some(&call, 1, arg);
}

static int lead_many(sflight_call *const *calls, size_t n, void *arg)
{
    return lead_some(calls, n, arg);
}

/* On a thread of its own. */
static int lead_started(sflight_call *call, void *arg)
{
    struct caller *c = arg;
    random_of_started = random_from((uint64_t)(c - world.callers));
    random_state = &random_of_started;
    return lead_some(&call, 1, c);
}

/* --------------------------------------------------------------- callers */

static struct caller *caller_new(struct worker *me, int kind, unsigned key)
{
    MUST(me->n_callers < world.share);
    struct caller *c = &me->callers[me->n_callers++];
    c->kind = kind;
    c->outcome = UNSET;
    c->key = key;
    c->exec = c->followers = -1;
    atomic_init(&c->released, -1);
    return c;
}

/* A batch that panics does so with one text for all its calls. */
static long panicked_exec(const struct caller *c, const char *text)
{
    char words[48];
    long id = -1;
    snprintf(words, sizeof words, "key %u is execution ", c->key);
    const char *found = strstr(text, words);
    if (found != NULL)
        id = strtol(found + strlen(words), NULL, 10);
    return id;
}

static void answered(struct caller *c, int rc, sflight_result *r)
{
    c->returned = now_ns();
    atomic_fetch_add_explicit(&c->answers, 1, memory_order_relaxed);
    if (rc == 0 || rc == -ENOTRECOVERABLE) {
        c->followers = r->followers;
        MUST(r->shared == (!r->leader || r->followers != 0));
    }
    switch (rc) {
    case 0:
        c->exec = (struct exec *)r->value - world.execs;
        c->outcome = r->leader && c->kind != KIND_START ? OUTCOME_LED : OUTCOME_JOINED;
        break;
    case -ENOTRECOVERABLE:
        c->exec = panicked_exec(c, r->value);
        c->outcome = OUTCOME_PANICKED;
        break;
    case -ETIMEDOUT:
        c->outcome = OUTCOME_TIMED_OUT;
        break;
    case -EAGAIN:
        c->outcome = OUTCOME_REJECTED;
        break;
    default:
        MUST(rc == -EOWNERDEAD);
        c->exec = -1; /* of a permit's holder */
        c->outcome = OUTCOME_OWNER_DEAD;
    }
    if (r == NULL || r->hold == NULL)
        return;
    struct hold *h = must_alloc(1, sizeof *h);
    *h = (struct hold){c, *r};
    if (pick(4) == 0) { /* leave a second hold to somebody else */
        struct hold *second = must_alloc(1, sizeof *second);
        second->caller = c;
        MUST(sflight_result_retain(&h->result, &second->result) == 0);
        hold_end(atomic_exchange(&world.lot[pick(LOT)], second));
    }
    hold_end(h);
}

static const struct timespec *maybe_deadline(struct timespec *t)
{
    if (world.m->unwanted || pick(4) != 0)
        return NULL;
    int64_t at = now_ns() + pick(20) * 1000;
    *t = (struct timespec){at / 1000000000, at % 1000000000};
    return t;
}

static void ask(struct worker *me, unsigned key)
{
    struct caller *c = caller_new(me, KIND_DO, key);
    struct timespec t;
    const struct timespec *deadline = maybe_deadline(&t);
    sflight_result r;
    c->began = now_ns();
    int rc = deadline == NULL ? sflight_do(world.g, &key, sizeof key, lead, c, &r)
                              : sflight_do_until(world.g, &key, sizeof key, lead, c, deadline, &r);
    answered(c, rc, &r);
}

static void ask_many(struct worker *me)
{
    unsigned n = 1 + pick(world.m->keys < MAX_BATCH ? world.m->keys : MAX_BATCH);
    unsigned first = pick(world.m->keys);
    struct caller *c[MAX_BATCH];
    sflight_key keys[MAX_BATCH];
    sflight_result r[MAX_BATCH];
    int rc[MAX_BATCH];
    struct timespec t;
    for (unsigned i = 0; i < n; i++) {
        c[i] = caller_new(me, KIND_MANY, (first + i) % world.m->keys); /* all different */
        keys[i] = (sflight_key){&c[i]->key, sizeof c[i]->key};
    }
    const struct timespec *deadline = maybe_deadline(&t);
    int64_t began = now_ns();
    for (unsigned i = 0; i < n; i++)
        c[i]->began = began;
    MUST(sflight_do_many(world.g, keys, n, lead_many, c[0], deadline, r, rc) == 0);
    for (unsigned i = 0; i < n; i++)
        answered(c[i], rc[i], &r[i]);
}

/* --------------------------------------------------------------- events */

/* Left without an answer. */
static void left(struct caller *c, int outcome)
{
    c->returned = now_ns();
    c->exec = -1;
    c->outcome = outcome;
}

static void permit_end(struct permit *p)
{
    if (p == NULL)
        return;
    struct caller *c = p->caller;
    struct exec *e = p->exec;
    bool abandon = world.m->failures && pick(8) == 0, own = c->kind == KIND_OWN;
    /* By who ends the call: then there is no callback. */
    if (p->called_back != NULL && !world.m->unwanted && pick(2) == 0 &&
        sflight_future_cancel(p->called_back) == 1)
        left(c, OUTCOME_CANCELLED);
    e->how = abandon ? HOW_DIED : HOW_RETURNED;
    e->ended = now_ns();
    e->followers = abandon ? sflight_abandon(p->call) : sflight_complete(p->call, 0);
    e->over = now_ns();
    if (!own) {
        c->returned = e->over;
        c->outcome = abandon ? OUTCOME_GONE : OUTCOME_LED;
        atomic_store(&c->answers, !abandon);
    }
    free(p);
}

static void called_back(void *arg, int rc, sflight_result *r)
{
    answered(arg, rc, r);
}

static void dropped(struct caller *c, sflight_future *f)
{
    int last = sflight_future_drop(f);
    left(c, last == 1 ? OUTCOME_LAST : OUTCOME_DROPPED);
}

/* Some are taken back by who drains. */
static void enqueued(struct caller *c, sflight_future *f)
{
    c->future = f;
    if (!world.m->unwanted && pick(2) == 0)
        atomic_store(&world.hang_ups[pick(LOT)], c);
}

/* One of the ways to use a future. */
static void use(sflight_future *f, struct caller *c)
{
    sflight_result r;
    int rc;
    switch (pick(8)) {
    case 0:
        MUST(sflight_future_then(f, called_back, c) == 0);
        return;
    case 1:
    case 2:
        atomic_fetch_add(&world.enqueued, 1);
        MUST(sflight_future_enqueue(f, world.queue, (uint64_t)(c - world.callers)) == 0);
        enqueued(c, f);
        return;
    case 3:
        dropped(c, f);
        return;
    case 4: {
        struct pollfd p = {.fd = sflight_future_fd(f), .events = POLLIN};
        MUST(p.fd >= 0);
        MUST(poll(&p, 1, -1) == 1);
        rc = sflight_future_poll(f, &r);
        MUST(rc != -EAGAIN);
        break;
    }
    case 5:
        while ((rc = sflight_future_poll(f, &r)) == -EAGAIN)
            sched_yield();
        break;
    case 6: {
        if (world.m->unwanted) {
            dropped(c, f);
            return;
        }
        const int64_t at = now_ns() + pick(20) * 1000;
        const struct timespec t = {at / 1000000000, at % 1000000000};
        rc = sflight_future_get(f, &t, &r);
        if (rc == -ETIMEDOUT) {
            dropped(c, f);
            return;
        }
        break;
    }
    default:
        rc = sflight_future_get(f, NULL, &r);
    }
    answered(c, rc, &r);
}

/* Somebody ends it, soon. */
static void hand_over(struct caller *c, sflight_call *call, sflight_future *called_back)
{
    struct permit *p = must_alloc(1, sizeof *p);
    *p = (struct permit){c, exec_new(call, c, now_ns()), call, called_back};
    if (pick(2) == 0)
        sflight_call_on_unwanted(call, told_unwanted, p->exec);
    permit_end(atomic_exchange(&world.permits[pick(LOT)], p));
}

static void begin(struct worker *me, unsigned key)
{
    struct caller *c = caller_new(me, KIND_BEGIN, key);
    sflight_call *call;
    sflight_future *f;
    c->began = now_ns();
    int rc = sflight_begin(world.g, &key, sizeof key, &call, &f);
    if (rc != 0) {
        answered(c, rc, NULL);
    } else if (f != NULL) {
        use(f, c);
    } else if (pick(2) == 0) {
        hand_over(c, call, NULL);
    } else {
        c->kind = KIND_OWN;
        MUST(sflight_call_future(call, &f) == 0);
        if (pick(4) == 0) { /* before anybody may end the call */
            MUST(sflight_future_then(f, called_back, c) == 0);
            hand_over(c, call, f);
        } else {
            hand_over(c, call, NULL);
            use(f, c);
        }
    }
}

static void begin_enqueue(struct worker *me, unsigned key)
{
    struct caller *c = caller_new(me, KIND_BEGIN, key);
    sflight_call *call;
    sflight_future *f;
    atomic_fetch_add(&world.enqueued, 1);
    c->began = now_ns();
    int rc = sflight_begin_enqueue(world.g, &key, sizeof key, world.queue,
                                   (uint64_t)(c - world.callers), &call, &f);
    if (rc != 0) {
        atomic_fetch_sub(&world.enqueued, 1);
        answered(c, rc, NULL);
        return;
    }
    if (call != NULL) {
        c->kind = KIND_OWN;
        hand_over(c, call, NULL);
    }
    if (call == NULL)
        enqueued(c, f);
}

static void start(struct worker *me, unsigned key)
{
    struct caller *c = caller_new(me, KIND_START, key);
    sflight_future *f;
    c->began = now_ns();
    int rc = sflight_start(world.g, &key, sizeof key, lead_started, c, &f);
    if (rc != 0)
        answered(c, rc, NULL);
    else
        use(f, c);
}

static bool drain(void)
{
    sflight_completion done[8];
    int n = sflight_queue_drain(world.queue, done, 8);
    MUST(n >= 0);
    for (int i = 0; i < n; i++) {
        struct caller *c = &world.callers[done[i].tag];
        sflight_result copy = {0};
        if (done[i].result.hold != NULL) /* what the batch gives up is held no more by then */
            MUST(sflight_result_retain(&done[i].result, &copy) == 0);
        answered(c, done[i].rc, &copy);
    }
    sflight_completions_release(done, (unsigned)n);
    world.drained += (unsigned)n;
    return n != 0;
}

/* By who drains, and only what has not been drained: then there is no completion. */
static void hang_up(struct caller *c)
{
    if (c == NULL || atomic_load(&c->answers) != 0)
        return;
    if (sflight_future_cancel(c->future) == 1) {
        left(c, OUTCOME_CANCELLED);
        atomic_fetch_sub(&world.enqueued, 1);
    }
}

/* Never blocks, so that whoever waits for a permit or for the queue waits for this. */
static void *serve(void *arg)
{
    uint64_t random = random_from(0x5F11647);
    (void)arg;
    random_state = &random;
    for (;;) {
        bool stop = atomic_load(&world.stop), idle = !drain();
        for (int i = 0; i < LOT; i++) {
            struct permit *p = atomic_exchange(&world.permits[i], NULL);
            idle = idle && p == NULL;
            hang_up(atomic_exchange(&world.hang_ups[i], NULL));
            permit_end(p);
        }
        if (stop && idle && world.drained >= atomic_load(&world.enqueued))
            return NULL;
        if (idle)
            sched_yield();
    }
}

/* --------------------------------------------------------------- workers */

static void note_forget(struct worker *me, unsigned key, bool unshared)
{
    struct forgetting *f = &me->forgettings[me->n_forgettings++];
    f->key = key;
    f->unshared = unshared;
    f->began = now_ns();
    f->answer = unshared ? sflight_forget_unshared(world.g, &key, sizeof key)
                         : sflight_forget(world.g, &key, sizeof key);
    f->returned = now_ns();
}

static void *work(void *arg)
{
    struct worker *me = arg;
    random_state = &me->random;
    while (me->ops_left > 0) {
        me->ops_left--;
        me->n_settled = me->n_callers;
        unsigned key = pick(world.m->keys), what = pick(64);
        if (what < world.m->events)
            what % 8 == 0 ? start(me, key) : what % 8 < 3 ? begin_enqueue(me, key) : begin(me, key);
        else if (what < world.m->events + 8)
            ask_many(me);
        else if (what < world.m->events + 14 && key % 2 == 1 && !world.m->unwanted)
            note_forget(me, key, what % 2 == 1);
        else
            ask(me, key);
    }
    me->n_settled = me->n_callers;
    return NULL;
}

/* Threads end in the middle of their work; another one goes on with it. */
static void *supervise(void *arg)
{
    struct worker *me = arg;
    while (me->ops_left > 0) {
        pthread_t thread;
        MUST(pthread_create(&thread, NULL, work, me) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        for (; me->n_settled < me->n_callers; me->n_settled++) {
            struct caller *c = &me->callers[me->n_settled];
            c->returned = now_ns();
            c->outcome = c->exec >= 0 ? OUTCOME_GONE : OUTCOME_LEFT;
        }
    }
    return NULL;
}

/* --------------------------------------------------------------- writing */

static void write_time(FILE *file, int64_t at, bool there)
{
    if (there)
        fprintf(file, " %lld", (long long)at);
    else
        fputs(" -", file);
}

static void write_caller(FILE *file, const struct caller *c)
{
    MUST(c->outcome != UNSET);
    fprintf(file, "caller %zd %s %u %lld", c - world.callers, kind_names[c->kind], c->key,
            (long long)c->began);
    write_time(file, c->returned, true);
    fprintf(file, " %u %s", c->answers, outcome_names[c->outcome]);
    write_time(file, c->exec, c->exec >= 0);
    write_time(file, c->released, c->released >= 0);
    write_time(file, c->followers, c->followers >= 0);
    fputc('\n', file);
}

static void write_history(const char *path)
{
    FILE *file = fopen(path, "w");
    MUST(file != NULL);
    fprintf(file, "# history_stress: %s\n", world.m->name);
    if (world.m->options.on_abandon == SFLIGHT_ABANDON_TAKEOVER)
        fputs("takeover\n", file);
    if (world.m->unwanted)
        fputs("cancel_unwanted\n", file);
    for (unsigned i = 0; i < world.m->threads; i++) {
        const struct worker *me = &world.workers[i];
        for (size_t j = 0; j < me->n_callers; j++)
            write_caller(file, &me->callers[j]);
        for (size_t j = 0; j < me->n_forgettings; j++) {
            const struct forgetting *f = &me->forgettings[j];
            fprintf(file, "%s %u %lld %lld %d\n", f->unshared ? "forget_unshared" : "forget",
                    f->key, (long long)f->began, (long long)f->returned, f->answer);
        }
    }
    for (long i = 0; i < world.n_execs; i++) {
        const struct exec *e = &world.execs[i];
        fprintf(file, "exec %ld %u %ld %lld %lld %s %u", i, e->key, e->leader, (long long)e->began,
                (long long)e->ended, how_names[e->how], e->destroyed);
        write_time(file, e->destroyed_at, e->destroyed != 0);
        write_time(file, e->over, e->over >= 0);
        write_time(file, e->followers, e->followers >= 0);
        fprintf(file, " %u\n", e->told);
    }
    sflight_stats s;
    MUST(sflight_group_stats(world.g, &s) == 0);
    fprintf(file, "stats %llu %llu %llu %llu %llu %llu %llu %llu\n", (unsigned long long)s.led,
            (unsigned long long)s.joined, (unsigned long long)s.timed_out,
            (unsigned long long)s.rejected, (unsigned long long)s.abandoned,
            (unsigned long long)s.panicked, (unsigned long long)s.taken_over,
            (unsigned long long)s.forgotten);
    MUST(fclose(file) == 0);
}

static void run(const struct mixture *m, uint64_t seed, const char *path)
{
    pthread_t server;
    sflight_stats s;

    memset((void *)&world, 0, sizeof world);
    world.m = m;
    MUST(sflight_group_create(&world.g, &m->options) == 0);
    MUST(sflight_queue_create(&world.queue) == 0);
    world.share = (size_t)m->ops * MAX_BATCH;
    world.callers = must_alloc(world.share * m->threads, sizeof *world.callers);
    world.max_execs = world.share * m->threads;
    world.execs = must_alloc(world.max_execs, sizeof *world.execs);
    MUST(pthread_create(&server, NULL, serve, NULL) == 0);
    for (unsigned i = 0; i < m->threads; i++) {
        struct worker *me = &world.workers[i];
        me->random = random_from(seed + i);
        me->ops_left = m->ops;
        me->callers = world.callers + i * world.share;
        me->forgettings = must_alloc(m->ops, sizeof *me->forgettings);
    }
    for (unsigned i = 0; i < m->threads; i++)
        MUST(pthread_create(&world.workers[i].supervisor, NULL, supervise, &world.workers[i]) == 0);
    for (unsigned i = 0; i < m->threads; i++)
        MUST(pthread_join(world.workers[i].supervisor, NULL) == 0);
    atomic_store(&world.stop, true);
    MUST(pthread_join(server, NULL) == 0);
    for (int i = 0; i < LOT; i++)
        hold_end(world.lot[i]);
    do { /* threads of started calls give their holds up last */
        sched_yield();
        MUST(sflight_group_stats(world.g, &s) == 0);
    } while (s.in_flight != 0 || s.waiting != 0 || s.held != 0);
    MUST(sflight_group_drain(world.g, NULL) == 0); /* and have some steps to go */

    write_history(path);
    MUST(sflight_queue_destroy(world.queue) == 0);
    MUST(sflight_group_destroy(world.g) == 0);
    for (unsigned i = 0; i < m->threads; i++)
        free(world.workers[i].forgettings);
    free((void *)world.callers);
    free((void *)world.execs);
}

int main(int argc, char **argv)
{
    struct mixture mixtures[] = {
        {.name = "plain", .threads = 4, .keys = 2, .ops = 20000, .events = 0},
        {.name = "failures", .threads = 6, .keys = 2, .ops = 6000, .failures = true},
        {.name = "takeover", .threads = 8, .keys = 2, .ops = 5000, .failures = true},
        {.name = "events", .threads = 4, .keys = 2, .ops = 12000, .events = 32},
        {.name = "unwanted", .threads = 4, .keys = 2, .ops = 12000, .events = 52, .unwanted = true},
        {.name = "all", .threads = 6, .keys = 4, .ops = 6000, .events = 24, .failures = true},
        {.name = "crowded", .threads = 12, .keys = 8, .ops = 4000, .events = 12, .failures = true},
    };
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE};
    const char *given = getenv("SFLIGHT_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)now_ns();
    char path[512];

    if (argc != 2) {
        fprintf(stderr, "usage: history_stress DIRECTORY\n");
        return 2;
    }
    printf("SFLIGHT_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof mixtures / sizeof mixtures[0]; i++)
        for (size_t j = 0; j < sizeof spins / sizeof spins[0]; j++) {
            struct mixture *m = &mixtures[i];
            sflight_options_init(&m->options);
            m->options.spin_ns = spins[j];
            m->options.cancel_unwanted = m->unwanted;
            if (strcmp(m->name, "takeover") == 0 || strcmp(m->name, "all") == 0)
                m->options.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
            if (strcmp(m->name, "crowded") == 0) { /* one bucket, and few may wait */
                m->options.shards = 1;
                m->options.expected_inflight = 1;
                m->options.max_waiters = 3;
            }
            snprintf(path, sizeof path, "%s/%s-%zu.txt", argv[1], m->name, j);
            run(m, seed, path);
        }
    return 0;
}
