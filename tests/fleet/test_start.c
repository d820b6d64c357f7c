/* SPDX-License-Identifier: BSD-2-Clause */
/* Callers that do not block: sflight_fleet_start(), permits, futures. */
#include "pair_test.h"

/* One start: how often lead was called, and with what. */
struct starter {
    atomic_int calls;
    _Atomic(sflight_fleet_permit *) permit;
    sflight_future *future;
};

static void lead(sflight_fleet_permit *permit, void *arg)
{
    struct starter *s = arg;
    atomic_store(&s->permit, permit);
    atomic_fetch_add(&s->calls, 1);
}

static void start(struct starter *s, sflight_fleet *f, const char *key)
{
    *s = (struct starter){0};
    assert_int_equal(sflight_fleet_start(f, key, strlen(key), lead, s, &s->future), 0);
    assert_non_null(s->future);
}

/* Returns when lead has a permit. */
static sflight_fleet_permit *start_leads(struct starter *s, sflight_fleet *f, const char *key)
{
    start(s, f, key);
    WAIT_UNTIL(atomic_load(&s->calls) == 1);
    assert_non_null(s->permit);
    return s->permit;
}

static void end_the_thread(void *arg, int rc, sflight_result *r)
{
    (void)arg;
    (void)rc;
    sflight_result_release(r);
    pthread_exit(NULL);
}

static void *complete_on_this_thread(void *permit)
{
    (void)sflight_fleet_complete(permit, 3, NULL, 0, NULL, NULL);
    abort();
}

static void *abandon_on_this_thread(void *permit)
{
    (void)sflight_fleet_abandon(permit);
    abort();
}

/* The callback ends its thread inside complete, or abandon: the engine is told all the same. */
static void a_callback_that_does_not_return(void **state)
{
    struct starter s;
    (void)state;
    sflight_fleet_permit *p = start_leads(&s, a, "completed");
    assert_int_equal(sflight_future_then(s.future, end_the_thread, NULL), 0);
    thread_join(thread_start(complete_on_this_thread, p));
    WAIT_UNTIL(FLEET_COUNT(a, published) == 1);
    p = start_leads(&s, a, "abandoned");
    assert_int_equal(sflight_future_then(s.future, end_the_thread, NULL), 0);
    thread_join(thread_start(abandon_on_this_thread, p));
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    assert_int_equal(FLEET_COUNT(a, unshared), 1);
}

struct gate_callback {
    atomic_bool is_inside, open;
    int rc; /* that it is told */
};

static void wait_at_gate(void *arg, int rc, sflight_result *r)
{
    struct gate_callback *g = arg;
    assert_int_equal(rc, g->rc);
    atomic_store(&g->is_inside, true);
    WAIT_UNTIL(atomic_load(&g->open));
    sflight_result_release(r);
}

/* The lead is not renewed any more, though nothing has been published yet: not on a new link. */
static void not_renewed_inside(struct gate_callback *g)
{
    WAIT_UNTIL(atomic_load(&g->is_inside));
    uint64_t renewals = FLEET_COUNT(a, renewals), reconnects = FLEET_COUNT(a, reconnects);
    assert_true(server_ask(&server, "CLIENT KILL TYPE normal SKIPME yes") >= 1);
    WAIT_UNTIL(FLEET_COUNT(a, reconnects) > reconnects);
    assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0); /* answered after a renewal */
    assert_int_equal(FLEET_COUNT(a, renewals), renewals);
    assert_int_equal(FLEET_COUNT(a, leading), 1);
    atomic_store(&g->open, true);
}

static void *complete_with_nothing(void *permit)
{
    (void)sflight_fleet_complete(permit, 3, NULL, 0, NULL, NULL);
    return NULL;
}

/* However long callbacks take, a result is not published later than two leases after fn. */
static void a_callback_that_takes_long(void **state)
{
    struct gate_callback during = {.open = false}, after = {.open = false};
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader;
    struct starter s;
    (void)state;
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    start(&s, a, "k");
    assert_int_equal(sflight_future_then(s.future, wait_at_gate, &during), 0);
    atomic_store(&w.open, true);
    not_renewed_inside(&during);
    fleet_caller_got(&leader, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    sflight_fleet_permit *p = start_leads(&s, a, "k");
    assert_int_equal(sflight_future_then(s.future, wait_at_gate, &after), 0);
    pthread_t thread = thread_start(complete_with_nothing, p);
    not_renewed_inside(&after);
    thread_join(thread);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    assert_int_equal(FLEET_COUNT(a, unpublished) + FLEET_COUNT(a, refused), 0);
}

static void *abandon_it(void *permit)
{
    (void)sflight_fleet_abandon(permit);
    return NULL;
}

/* The key's call of this process, which leads, is the one that a newcomer joins; both end. */
static void is_joined(struct fleet_caller *leader, struct fleet_work *w)
{
    struct fleet_caller joiner;
    WAIT_UNTIL(atomic_load(&w->runs) == 1);
    assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0); /* answered after what was late */
    uint64_t joined = FLEET_COUNT(a, joined);
    fleet_caller_start(&joiner, a, "k", fleet_must_not_run, NULL, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, joined) + FLEET_COUNT(a, waiting) == joined + 1);
    assert_int_equal(FLEET_COUNT(a, waiting), 0);
    atomic_store(&w->open, true);
    fleet_caller_got(leader, w, 1);
    fleet_caller_got(&joiner, w, 1);
}

/* The callback is inside the end of a call: the lead is lost, but the key's next call stays. */
static void next_call_stays_inside(struct gate_callback *g)
{
    struct fleet_work w = {.size = 8};
    struct fleet_caller next;
    WAIT_UNTIL(atomic_load(&g->is_inside));
    uint64_t forgotten = FLEET_COUNT(a, forgotten);
    fleet_caller_start(&next, a, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1);
    assert_int_equal(sflight_fleet_forget(b, "k", 1), 1);
    WAIT_UNTIL(FLEET_COUNT(a, forgotten) == forgotten + 1);
    is_joined(&next, &w);
    atomic_store(&g->open, true);
}

static void a_lead_that_is_lost_late(void **state)
{
    static sflight_fn *const fns[] = {fleet_work_fn, fleet_panic_fn};
    static const struct {
        void *(*end)(void *permit);
        int rc;
    } ends[] = {{complete_with_nothing, 0}, {abandon_it, -EOWNERDEAD}};
    struct starter s;
    (void)state;
    for (size_t i = 0; i < LENGTH(fns); i++) {
        struct gate_callback g = {.rc = fns[i] == fleet_panic_fn ? -EOWNERDEAD : 0};
        struct fleet_work w = {.size = 8};
        struct fleet_caller leader;
        fleet_caller_start(&leader, a, "k", fns[i], &w, NULL);
        WAIT_UNTIL(atomic_load(&w.runs) == 1);
        start(&s, a, "k");
        assert_int_equal(sflight_future_then(s.future, wait_at_gate, &g), 0);
        atomic_store(&w.open, true);
        next_call_stays_inside(&g);
        thread_join(leader.thread);
        sflight_result_release(&leader.r);
        WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    }
    for (size_t i = 0; i < LENGTH(ends); i++) {
        struct gate_callback g = {.rc = ends[i].rc};
        sflight_fleet_permit *p = start_leads(&s, a, "k");
        assert_int_equal(sflight_future_then(s.future, wait_at_gate, &g), 0);
        pthread_t thread = thread_start(ends[i].end, p);
        next_call_stays_inside(&g);
        thread_join(thread);
        WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    }
}

static void free_text(void *value, size_t size, void *ctx)
{
    assert_int_equal(size, strlen(value) + 1);
    assert_null(ctx);
    free(value);
}

static void complete(sflight_fleet_permit *p, int status, const char *text)
{
    sflight_fleet_complete(p, status, strdup(text), strlen(text) + 1, free_text, NULL);
}

static void got(struct starter *s, int status, const char *text, bool leads)
{
    sflight_result r;
    assert_int_equal(sflight_future_get(s->future, NULL, &r), 0);
    assert_int_equal(r.status, status);
    assert_string_equal(r.value, text);
    assert_int_equal(r.size, strlen(text) + 1);
    assert_int_equal(s->calls, 1);
    assert_int_equal(s->permit != NULL, leads);
    sflight_result_release(&r);
}

/* A lead that holds the engine thread. */
struct holder {
    struct starter s;
    atomic_bool is_inside, open;
};

static void hold_engine_thread(sflight_fleet_permit *permit, void *arg)
{
    struct holder *h = arg;
    lead(permit, &h->s);
    atomic_store(&h->is_inside, true);
    WAIT_UNTIL(atomic_load(&h->open));
}

static void hold_start(struct holder *h, sflight_fleet *f, const char *key)
{
    *h = (struct holder){.open = false};
    assert_int_equal(sflight_fleet_start(f, key, strlen(key), hold_engine_thread, h, &h->s.future),
                     0);
}

static void hold_end(struct holder *h)
{
    complete(h->s.permit, 1, "held");
    got(&h->s, 1, "held", true);
}

/*
 * The engine thread hears at once that a caller leads, and that its lead has been forgotten, when
 * that caller has left at its deadline and the key has another call.  `first` holds the thread
 * while the engine says both, `then` after it has seen that there are answers.  False: the caller
 * has left too early for that.
 */
static bool leave_before_the_lead(sflight_fleet *hasty, int64_t deadline_ms)
{
    struct holder first, then;
    struct fleet_caller left, next;
    struct fleet_work w = {.size = 8};
    uint64_t commands = FLEET_COUNT(a, commands);
    server_freeze(&server);
    hold_start(&then, a, "then");
    WAIT_UNTIL(FLEET_COUNT(a, commands) > commands);
    commands = FLEET_COUNT(a, commands);
    struct timespec deadline = deadline_in_ns(deadline_ms * 1000000);
    fleet_caller_start(&left, a, "k", fleet_must_not_run, NULL, &deadline);
    WAIT_UNTIL(FLEET_COUNT(a, commands) > commands || has_passed(&deadline));
    hold_start(&first, hasty, "first"); /* it does not wait for the engine */
    WAIT_UNTIL(atomic_load(&first.is_inside));
    server_thaw(&server);
    WAIT_UNTIL(server_ask(&server, "EXISTS sf:hasty{:first}") == 1); /* asked for last */
    assert_true(sflight_fleet_forget(b, "k", 1) >= 0);
    (void)server_ask(&server, "DBSIZE"); /* it has written to others before it answers this */
    atomic_store(&first.open, true);
    WAIT_UNTIL(atomic_load(&then.is_inside));
    bool is_in_time = !has_passed(&deadline);
    thread_join(left.thread);
    assert_int_equal(left.rc, -ETIMEDOUT);
    uint64_t bytes = FLEET_COUNT(a, bytes);
    fleet_caller_start(&next, a, "k", fleet_work_fn, &w, NULL);
    /* It asks, or flies alone: either way the key has its call. */
    WAIT_UNTIL(FLEET_COUNT(a, bytes) > bytes || atomic_load(&w.runs) == 1);
    atomic_store(&then.open, true);
    is_joined(&next, &w);
    hold_end(&first);
    hold_end(&then);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    return is_in_time;
}

static void a_lead_that_nobody_waits_for(void **state)
{
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "hasty");
    o.engine_timeout_ms = 1;
    sflight_fleet *hasty = fleet_create(&o); /* with the engine thread of a */
    WAIT_UNTIL(FLEET_COUNT(a, inbox_ready) == 1 && FLEET_COUNT(b, connected) == 1);
    for (int64_t ms = 50; !leave_before_the_lead(hasty, ms);)
        ms *= 2; /* on a busy machine */
    fleet_free(hasty);
}

static void a_start_that_leads(void **state)
{
    struct starter s, other;
    size_t len;
    (void)state;
    sflight_fleet_permit *p = start_leads(&s, a, "key");
    assert_memory_equal(sflight_fleet_permit_key(p, &len), "key", 3);
    assert_int_equal(len, 3);
    start(&other, b, "key");
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    assert_int_equal(other.calls, 0);
    complete(p, 200, "page");
    got(&s, 200, "page", true);
    got(&other, 200, "page", false);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 1);
    assert_int_equal(FLEET_COUNT(a, led), 1);
    assert_int_equal(FLEET_COUNT(b, received), 1);
}

static struct starter second;

static void ask_again(void *arg, int rc, sflight_result *r)
{
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    start(&second, arg, "k");
    WAIT_UNTIL(FLEET_COUNT(arg, waiting) == 1);
}

/* Who asks again before the result is published has had it, and gets another one. */
static void asking_before_the_publish(void **state)
{
    struct starter first, other;
    (void)state;
    sflight_fleet_permit *p = start_leads(&first, a, "k");
    start(&other, b, "k");
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    assert_int_equal(sflight_future_then(first.future, ask_again, a), 0);
    complete(p, 1, "old");
    got(&other, 1, "old", false);
    WAIT_UNTIL(atomic_load(&second.calls) == 1);
    assert_non_null(second.permit);
    complete(second.permit, 2, "new");
    got(&second, 2, "new", true);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 2);
    assert_int_equal(FLEET_COUNT(a, led), 2);
    assert_int_equal(FLEET_COUNT(a, received) + FLEET_COUNT(a, takeovers), 0);
}

/* Starts, and blocking callers, of one process are one call. */
static void all_kinds_of_callers(void **state)
{
    enum { N = 20 };
    struct starter first, others[N];
    struct fleet_caller blocking, remote;
    struct fleet_work none = {0};
    (void)state;
    sflight_fleet_permit *p = start_leads(&first, a, "k");
    for (int i = 0; i < N; i++)
        start(&others[i], a, "k");
    fleet_caller_start(&blocking, a, "k", fleet_must_not_run, &none, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, joined) == N + 1);
    fleet_caller_start(&remote, b, "k", fleet_must_not_run, &none, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    complete(p, 7, "x");
    got(&first, 7, "x", true);
    for (int i = 0; i < N; i++)
        got(&others[i], 7, "x", false);
    thread_join(blocking.thread);
    thread_join(remote.thread);
    assert_string_equal(blocking.r.value, "x");
    assert_string_equal(remote.r.value, "x");
    sflight_result_release(&blocking.r);
    sflight_result_release(&remote.r);
}

/* A start that joins a blocking leader. */
static void a_start_behind_a_blocking_leader(void **state)
{
    struct fleet_work w = {.size = 8, .status = 4};
    struct fleet_caller leader;
    struct starter s;
    sflight_result r;
    (void)state;
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    start(&s, a, "k");
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    assert_int_equal(sflight_future_get(s.future, NULL, &r), 0);
    assert_int_equal(run_of(&r), 1);
    assert_false(r.leader);
    assert_true(r.shared);
    assert_int_equal(s.calls, 1);
    assert_null(s.permit);
    sflight_result_release(&r);
}

/*
 * A blocking leader waits for another process, and leaves at its deadline.  Who had started goes
 * on: the future does not see it.
 */
static void the_leader_leaves_at_its_deadline(void **state)
{
    struct fleet_work w = {.size = 8, .status = 4};
    struct fleet_caller remote;
    (void)state;
    for (int wins = 0; wins < 2; wins++) {
        struct fleet_caller leader;
        struct starter s[3];
        struct timespec soon = deadline_in_ns(50000000);
        atomic_store(&w.open, false);
        atomic_store(&w.runs, 0);
        fleet_caller_start(&remote, b, "k", fleet_work_fn, &w, NULL);
        WAIT_UNTIL(atomic_load(&w.runs) == 1);
        fleet_caller_start(&leader, a, "k", fleet_must_not_run, NULL, &soon);
        WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1 || has_passed(&soon));
        for (int i = 0; i < 3; i++)
            start(&s[i], a, "k");
        thread_join(leader.thread);
        /* On a busy machine it may be a follower, or have left before they came: one leads anyway.
         */
        assert_int_equal(leader.rc, -ETIMEDOUT);
        /* The engine thread has seen that it left, so who waits is the next one. */
        assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0);
        WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1);
        if (wins == 0) {
            /* The value comes from the other process. */
            atomic_store(&w.open, true);
            fleet_caller_got(&remote, &w, 1);
            for (int i = 0; i < 3; i++) {
                sflight_result r;
                assert_int_equal(sflight_future_get(s[i].future, NULL, &r), 0);
                assert_int_equal(run_of(&r), 1);
                assert_int_equal(s[i].calls, 1);
                assert_null(s[i].permit);
                sflight_result_release(&r);
            }
        } else {
            /* The other process forgets: one of the three leads. */
            assert_int_equal(sflight_fleet_forget(b, "k", 1), 1);
            WAIT_UNTIL(s[0].permit != NULL || s[1].permit != NULL || s[2].permit != NULL);
            int leads = s[0].permit != NULL ? 0 : s[1].permit != NULL ? 1 : 2;
            complete(s[leads].permit, 9, "mine");
            for (int i = 0; i < 3; i++)
                got(&s[i], 9, "mine", i == leads);
            atomic_store(&w.open, true);
            fleet_caller_got(&remote, &w, 1);
        }
        WAIT_UNTIL(FLEET_COUNT(b, leading) == 0 && FLEET_COUNT(a, leading) == 0);
    }
}

static void abandoning(void **state)
{
    struct starter s, other;
    sflight_result r;
    (void)state;
    sflight_fleet_permit *p = start_leads(&s, a, "k");
    start(&other, b, "k");
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    assert_int_equal(sflight_fleet_abandon(p), 0);
    assert_int_equal(sflight_future_get(s.future, NULL, &r), -EOWNERDEAD);
    WAIT_UNTIL(atomic_load(&other.calls) == 1);
    assert_non_null(other.permit);
    complete(other.permit, 1, "b");
    got(&other, 1, "b", true);
    assert_int_equal(FLEET_COUNT(a, unshared), 1);
}

/* Those who had joined an abandoned call lead themselves, one after the other. */
static void abandoned_one_after_the_other(void **state)
{
    enum { N = 5 };
    struct starter s[N];
    sflight_result r;
    int left = N;
    (void)state;
    start_leads(&s[0], a, "k");
    for (int i = 1; i < N; i++)
        start(&s[i], a, "k");
    while (left > 1) {
        int i = 0;
        while (s[i].future == NULL || atomic_load(&s[i].permit) == NULL)
            i = (i + 1) % N;
        sflight_fleet_abandon(s[i].permit);
        assert_int_equal(sflight_future_get(s[i].future, NULL, &r), -EOWNERDEAD);
        s[i].future = NULL;
        left--;
    }
    for (int i = 0; i < N; i++)
        if (s[i].future != NULL) {
            WAIT_UNTIL(atomic_load(&s[i].permit) != NULL);
            complete(s[i].permit, 3, "last");
            got(&s[i], 3, "last", true);
        }
}

static sflight_fleet *engine_thread_fleet;
static atomic_int engine_thread_asks;

static void lead_blocks(sflight_fleet_permit *permit, void *arg)
{
    sflight_fleet *f = engine_thread_fleet;
    sflight_result r;
    char why[8];
    (void)arg;
    assert_int_equal(sflight_fleet_do(f, "x", 1, fleet_must_not_run, NULL, NULL, &r), -EDEADLK);
    assert_null(r.hold);
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), -EDEADLK);
    assert_int_equal(sflight_fleet_forget(f, "x", 1), -EDEADLK);
    assert_int_equal(sflight_fleet_close(f, NULL), -EDEADLK);
    assert_int_equal(sflight_fleet_destroy(f), -EDEADLK);
    atomic_store(&engine_thread_asks, 1);
    sflight_fleet_complete(permit, 1, NULL, 0, NULL, NULL);
}

static void what_waits_is_refused_on_the_engine_thread(void **state)
{
    sflight_future *future;
    sflight_result r;
    (void)state;
    engine_thread_fleet = a;
    assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0);
    assert_int_equal(sflight_fleet_start(a, "k", 1, lead_blocks, NULL, &future), 0);
    assert_int_equal(sflight_future_get(future, NULL, &r), 0);
    assert_null(r.value);
    sflight_result_release(&r);
    assert_int_equal(engine_thread_asks, 1);
}

/* What has nothing to ask, asks nothing: lead is called at once. */
static void starts_that_fly_alone(void **state)
{
    char key[SFLIGHT_FLEET_MAX_KEY + 1];
    struct starter s = {0};
    (void)state;
    memset(key, 'x', sizeof key);
    assert_int_equal(sflight_fleet_start(a, key, sizeof key, lead, &s, &s.future), 0);
    assert_int_equal(s.calls, 1);
    complete(s.permit, 1, "alone");
    got(&s, 1, "alone", true);
    assert_int_equal(FLEET_COUNT(a, alone_oversize), 1);
}

/* A future that nobody wants: lead is called all the same, and what it makes goes to others. */
static void a_dropped_future(void **state)
{
    struct starter s, other;
    (void)state;
    sflight_fleet_permit *p = start_leads(&s, a, "k");
    start(&other, b, "k");
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    sflight_future_drop(s.future);
    complete(p, 2, "for others");
    got(&other, 2, "for others", false);
}

static void completions_of_a_queue(void **state)
{
    enum { N = 200 };
    static struct starter s[N];
    sflight_completion done[16];
    sflight_queue *q;
    bool seen[N] = {false};
    int left = N;
    (void)state;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "q%d", i / 2);
        start(&s[i], i % 2 == 0 ? a : b, key);
        assert_int_equal(sflight_future_enqueue(s[i].future, q, (uint64_t)i), 0);
    }
    while (left > 0) {
        for (int i = 0; i < N; i++) {
            sflight_fleet_permit *p = atomic_exchange(&s[i].permit, NULL);
            if (p != NULL)
                complete(p, i / 2, "queue");
        }
        int n = sflight_queue_drain(q, done, LENGTH(done));
        for (int i = 0; i < n; i++) {
            assert_int_equal(done[i].rc, 0);
            assert_int_equal(done[i].result.status, done[i].tag / 2);
            assert_false(seen[done[i].tag]);
            seen[done[i].tag] = true;
        }
        if (n > 0)
            sflight_completions_release(done, (unsigned)n);
        left -= n;
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(s[i].calls, 1);
    assert_int_equal(sflight_queue_destroy(q), 0);
}

/* More claims than fit into what is there at first, all unanswered at a time. */
static void thousands_at_once(void **state)
{
    enum { N = 3000 };
    static struct starter s[N];
    (void)state;
    assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0);
    uint64_t commands = FLEET_COUNT(a, commands);
    server_freeze(&server);
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "t%d", i);
        start(&s[i], a, key);
    }
    WAIT_UNTIL(FLEET_COUNT(a, commands) >= commands + N);
    server_thaw(&server);
    for (int i = 0; i < N; i++) {
        WAIT_UNTIL(atomic_load(&s[i].calls) == 1);
        complete(s[i].permit, i, "many");
        got(&s[i], i, "many", true);
    }
    WAIT_UNTIL(FLEET_COUNT(a, published) == N + 1);
    assert_int_equal(FLEET_COUNT(a, led), N);
    WAIT_UNTIL(FLEET_COUNT(a, bytes) == 0);
}

static void wrong_starts(void **state)
{
    sflight_future *f = (sflight_future *)&f;
    struct starter s = {0};
    (void)state;
    assert_int_equal(sflight_fleet_start(NULL, "k", 1, lead, &s, &f), -EINVAL);
    assert_null(f);
    assert_int_equal(sflight_fleet_start(a, NULL, 1, lead, &s, &f), -EINVAL);
    assert_int_equal(sflight_fleet_start(a, "k", 1, NULL, &s, &f), -EINVAL);
    assert_int_equal(sflight_fleet_start(a, "k", 1, lead, &s, NULL), -EINVAL);
    assert_int_equal(sflight_fleet_close(a, NULL), 0);
    assert_int_equal(sflight_fleet_start(a, "k", 1, lead, &s, &f), -ESHUTDOWN);
    assert_null(f);
    assert_int_equal(s.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_that_leads, setup, teardown),
        cmocka_unit_test_setup_teardown(asking_before_the_publish, setup, teardown),
        cmocka_unit_test_setup_teardown(all_kinds_of_callers, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_that_does_not_return, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_that_takes_long, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lead_that_is_lost_late, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lead_that_nobody_waits_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_start_behind_a_blocking_leader, setup, teardown),
        cmocka_unit_test_setup_teardown(the_leader_leaves_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(abandoning, setup, teardown),
        cmocka_unit_test_setup_teardown(abandoned_one_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_is_refused_on_the_engine_thread, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(starts_that_fly_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dropped_future, setup, teardown),
        cmocka_unit_test_setup_teardown(completions_of_a_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(thousands_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_starts, setup, teardown),
    };
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
