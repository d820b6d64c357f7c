/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion queues: every completion once, and a descriptor that can be relied on. */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

#include <sys/epoll.h>
#include <unistd.h>

static sflight_queue *queue_new(void)
{
    sflight_queue *q = NULL;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_non_null(q);
    assert_true(sflight_queue_fd(q) >= 0);
    return q;
}

static void arguments(void **state)
{
    (void)state;
    sflight_completion done;
    assert_int_equal(sflight_queue_create(NULL), -EINVAL);
    assert_int_equal(sflight_queue_destroy(NULL), 0);
    assert_int_equal(sflight_queue_fd(NULL), -EINVAL);
    assert_int_equal(sflight_queue_drain(NULL, &done, 1), -EINVAL);
    sflight_queue *q = queue_new();
    assert_int_equal(sflight_queue_drain(q, NULL, 1), -EINVAL);
    assert_int_equal(sflight_queue_drain(q, NULL, 0), 0);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 0);
    assert_int_equal(sflight_future_enqueue(NULL, q, 0), -EINVAL);
    assert_int_equal(sflight_queue_destroy(q), 0);
}

/* Room for more than an int counts; what there is comes. */
static void a_large_drain(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_completion done;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_queue_drain(q, &done, UINT_MAX), 0);
    sflight_call *call = lead(g, "key");
    assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 5), 0);
    sflight_complete(call, 0);
    assert_int_equal(sflight_queue_drain(q, &done, UINT_MAX), 1);
    assert_int_equal(done.tag, 5);
    sflight_result_release(&done.result);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* However many are taken at a time: readable as long as some are left. */
static void small_drains(void **state)
{
    (void)state;
    enum { N = 23 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    for (unsigned at_a_time = 1; at_a_time <= N + 1; at_a_time++) {
        bool seen[N] = {0};
        sflight_call *calls[2] = {lead(g, "0"), lead(g, "1")};
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(sflight_future_enqueue(join(g, i % 2 ? "1" : "0"), q, i), 0);
        assert_false(readable(sflight_queue_fd(q)));
        assert_int_equal(sflight_queue_destroy(q), -EBUSY);
        sflight_complete(calls[0], 0);
        unsigned left = N;
        while (left != 0) {
            sflight_completion done[N + 1];
            assert_true(readable(sflight_queue_fd(q)));
            assert_int_equal(sflight_queue_destroy(q), -EBUSY);
            int n = sflight_queue_drain(q, done, at_a_time);
            assert_true(n > 0 && (unsigned)n <= at_a_time);
            for (int i = 0; i < n; i++) {
                assert_false(seen[done[i].tag]);
                seen[done[i].tag] = true;
                assert_int_equal(done[i].result.status, done[i].tag % 2);
                sflight_result_release(&done[i].result);
            }
            left -= (unsigned)n;
            if (calls[1] != NULL)
                sflight_complete(calls[1], 1); /* while some of the others are left */
            calls[1] = NULL;
        }
        sflight_completion none;
        assert_int_equal(sflight_queue_drain(q, &none, 1), 0);
        assert_false(readable(sflight_queue_fd(q)));
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void complete_one(sflight_group *g, sflight_queue *q)
{
    sflight_call *call = lead(g, "key");
    assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 1), 0);
    sflight_complete(call, 0);
}

static int drain_some(sflight_queue *q)
{
    sflight_completion done[4];
    int n = sflight_queue_drain(q, done, LENGTH(done));
    sflight_completions_release(done, n > 0 ? (unsigned)n : 0);
    return n;
}

/* The descriptor is written once, and stays readable until a drain takes nothing. */
static void written_once_while_they_come(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET}; /* tells of each write */
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, sflight_queue_fd(q), &e), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            complete_one(g, q);
            assert_int_equal(epoll_wait(epoll, &e, 1, 0), i == 0);
            assert_int_equal(drain_some(q), 1);
            assert_true(readable(sflight_queue_fd(q)));
        }
        assert_int_equal(drain_some(q), 0);
        assert_false(readable(sflight_queue_fd(q)));
    }
    close(epoll);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void one_queue_for_many_groups(void **state)
{
    (void)state;
    sflight_queue *q = queue_new();
    sflight_group *g[3];
    sflight_completion done[4];
    for (size_t i = 0; i < LENGTH(g); i++) {
        g[i] = group_new(NULL);
        sflight_call *call = lead(g[i], "key");
        assert_int_equal(sflight_future_enqueue(join(g[i], "key"), q, i), 0);
        sflight_complete(call, (int)i);
    }
    assert_int_equal(sflight_group_destroy(g[0]), -EBUSY); /* its completion has a hold */
    assert_int_equal(sflight_queue_drain(q, done, LENGTH(done)), LENGTH(g));
    for (size_t i = 0; i < LENGTH(g); i++) {
        assert_int_equal(done[i].result.status, done[i].tag);
        sflight_result_release(&done[i].result);
        group_end(g[i]);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
}

/* Waiters on one call, each in another queue than the one before. */
static void one_group_for_many_queues(void **state)
{
    (void)state;
    enum { N = 12 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q[3] = {queue_new(), queue_new(), queue_new()};
    bool seen[N] = {0};
    sflight_call *call = lead(g, "key");
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q[i % LENGTH(q)], i), 0);
    sflight_complete(call, 4);
    for (unsigned i = 0; i < LENGTH(q); i++) {
        sflight_completion done[N];
        assert_true(readable(sflight_queue_fd(q[i])));
        assert_int_equal(sflight_queue_drain(q[i], done, N), N / LENGTH(q));
        for (unsigned k = 0; k < N / LENGTH(q); k++) {
            assert_int_equal(done[k].tag % LENGTH(q), i);
            assert_false(seen[done[k].tag]);
            seen[done[k].tag] = true;
            assert_int_equal(done[k].result.status, 4);
            sflight_result_release(&done[k].result);
        }
        assert_int_equal(sflight_queue_destroy(q[i]), 0);
    }
    group_end(g);
}

/* Who has the permit says `leader`, before, between and behind those who follow. */
static void the_leaders_own_among_followers(void **state)
{
    (void)state;
    enum { N = 3 };
    for (uint64_t own = 0; own < N; own++) {
        sflight_group *g = group_new(NULL);
        sflight_queue *q = queue_new();
        sflight_completion done[N];
        sflight_call *call = lead(g, "key");
        for (uint64_t i = 0; i < N; i++) {
            sflight_future *f = NULL;
            if (i == own)
                assert_int_equal(sflight_call_future(call, &f), 0);
            else
                f = join(g, "key");
            assert_int_equal(sflight_future_enqueue(f, q, i), 0);
        }
        sflight_complete(call, 5);
        assert_int_equal(sflight_queue_drain(q, done, N), N);
        for (int i = 0; i < N; i++) {
            assert_int_equal(done[i].rc, 0);
            assert_int_equal(done[i].result.status, 5);
            assert_int_equal(done[i].result.followers, N - 1);
            assert_int_equal(done[i].result.leader, done[i].tag == own);
            assert_true(done[i].result.shared);
        }
        assert_int_equal(stats_of(g).held, N);
        sflight_completions_release(done, N);
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
    }
}

/* Of a call without a result nobody has a hold, also where its completions are drained together. */
static void many_of_a_call_that_fails(void **state)
{
    (void)state;
    enum { N = 5 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    sflight_completion done[N];
    sflight_call *call = lead(g, "key");
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, i), 0);
    sflight_abandon(call);
    assert_int_equal(sflight_queue_drain(q, done, N), N);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(done[i].tag, i);
        assert_int_equal(done[i].rc, -EOWNERDEAD);
        assert_zeroed(&done[i].result);
    }
    assert_int_equal(stats_of(g).held, 0);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* More threads than a queue has lines to count on. */
struct crowd {
    sflight_group *g;
    sflight_queue *q;
    pthread_barrier_t all;
};

static void *enqueue_one(void *arg)
{
    struct crowd *crowd = arg;
    sflight_call *call;
    sflight_future *f;
    (void)pthread_barrier_wait(&crowd->all);
    int rc = sflight_begin(crowd->g, "0", 1, &call, &f);
    if (rc == 0)
        rc = sflight_future_enqueue(f, crowd->q, 1);
    (void)pthread_barrier_wait(&crowd->all); /* nobody is the next one's successor */
    return rc == 0 ? crowd : NULL;
}

static void a_crowd_enqueues(void **state)
{
    (void)state;
    enum { N = 40 };
    struct crowd crowd = {.g = group_new(NULL), .q = queue_new()};
    pthread_t threads[N];
    sflight_completion done[N + 1];

    assert_int_equal(pthread_barrier_init(&crowd.all, NULL, N), 0);
    sflight_call *call = lead(crowd.g, "0");
    threads_start(threads, N, enqueue_one, &crowd);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(thread_join(threads[i]), &crowd);
    assert_int_equal(pthread_barrier_destroy(&crowd.all), 0);
    sflight_complete(call, 7);
    assert_int_equal(sflight_queue_destroy(crowd.q), -EBUSY);
    assert_int_equal(sflight_queue_drain(crowd.q, done, N + 1), N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(done[i].result.status, 7);
        sflight_result_release(&done[i].result);
    }
    assert_int_equal(sflight_queue_destroy(crowd.q), 0); /* each was counted */
    group_end(crowd.g);
}

/* -------------------------------------------------------- once, and no more */

enum { PRODUCERS = 4, KEYS = 3, PER_PRODUCER = 60000 };

/* What becomes of each tag. */
enum fate { UNUSED, EXPECTED, DELIVERED, DROPPED };

struct traffic {
    sflight_group *g;
    sflight_queue *q;
    struct tally tally;
    _Atomic(uint64_t) by_drain, by_then, by_get, by_drop;
    atomic_int n_producing;
    _Atomic(unsigned char) fate[PRODUCERS * PER_PRODUCER];
};

static struct traffic traffic;

struct producer {
    unsigned number;
    uint64_t random;
    sflight_call *pending; /* a permit of ours, to be ended later */
};

static void delivered(uint64_t tag, int rc, const sflight_result *r)
{
    assert_int_equal(atomic_exchange(&traffic.fate[tag], DELIVERED), EXPECTED);
    if (rc == 0)
        (void)number_of(r);
    else
        assert_int_equal(rc, -EOWNERDEAD);
}

static void on_then(void *arg, int rc, sflight_result *r)
{
    delivered((uint64_t)((_Atomic(unsigned char) *)arg - traffic.fate), rc, r);
    sflight_result_release(r);
    atomic_fetch_add(&traffic.by_then, 1);
}

static void end_pending(struct producer *p)
{
    sflight_call *call = p->pending;
    p->pending = NULL;
    if (call == NULL)
        return;
    if (random_pick(&p->random, 8) == 0) {
        sflight_abandon(call);
    } else {
        value_set(call, &traffic.tally, 1);
        sflight_complete(call, 0);
    }
}

/* A deadline against the completion: a get that times out is dropped. */
static void get_or_drop(sflight_future *f, uint64_t tag)
{
    struct timespec soon = deadline_in_ns(2000);
    sflight_result r;
    int rc = sflight_future_get(f, &soon, &r);
    if (rc == -ETIMEDOUT) {
        sflight_future_drop(f);
        atomic_store(&traffic.fate[tag], DROPPED);
        atomic_fetch_add(&traffic.by_drop, 1);
        return;
    }
    delivered(tag, rc, &r);
    sflight_result_release(&r);
    atomic_fetch_add(&traffic.by_get, 1);
}

static void use(struct producer *p, sflight_future *f, uint64_t tag)
{
    if (random_pick(&p->random, 32) == 0)
        assert_true(sflight_future_fd(f) >= 0);
    atomic_store(&traffic.fate[tag], EXPECTED);
    switch (random_pick(&p->random, 6)) {
    case 0:
        sflight_future_drop(f);
        atomic_store(&traffic.fate[tag], DROPPED);
        atomic_fetch_add(&traffic.by_drop, 1);
        break;
    case 1:
        get_or_drop(f, tag);
        break;
    case 2:
        assert_int_equal(sflight_future_then(f, on_then, (void *)&traffic.fate[tag]), 0);
        break;
    default:
        assert_int_equal(sflight_future_enqueue(f, traffic.q, tag), 0);
    }
}

static void *produce(void *arg)
{
    struct producer *p = arg;
    const uint64_t n = (uint64_t)rounds(PER_PRODUCER, PER_PRODUCER / 6);
    for (uint64_t i = 0; i < n; i++) {
        unsigned key = random_pick(&p->random, KEYS);
        sflight_call *call;
        sflight_future *f;
        assert_int_equal(sflight_begin(traffic.g, &key, sizeof key, &call, &f), 0);
        if (call != NULL) {
            end_pending(p);
            p->pending = call;
        } else {
            use(p, f, p->number * PER_PRODUCER + i);
        }
        if (random_pick(&p->random, 4) == 0)
            end_pending(p);
        if (random_pick(&p->random, 64) == 0)
            sflight_forget(traffic.g, &key, sizeof key);
    }
    end_pending(p);
    atomic_fetch_sub(&traffic.n_producing, 1);
    return NULL;
}

static void consume_until_done(void)
{
    bool last = false;
    for (;;) {
        sflight_completion done[7];
        last = traffic.n_producing == 0;
        /* Not to be missed: if there is something, the descriptor says so. */
        struct pollfd fd = {.fd = sflight_queue_fd(traffic.q), .events = POLLIN};
        int ready = poll(&fd, 1, last ? 0 : 10);
        int n = sflight_queue_drain(traffic.q, done, ready ? LENGTH(done) : 0);
        if (!ready && last)
            return;
        for (int i = 0; i < n; i++) {
            delivered(done[i].tag, done[i].rc, &done[i].result);
            sflight_result_release(&done[i].result);
            atomic_fetch_add(&traffic.by_drain, 1);
        }
    }
}

static void every_completion_once(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        o.cancel_unwanted = variant == 1;
        o.on_abandon = variant == 2 ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE;
        memset((void *)&traffic, 0, sizeof traffic);
        traffic.g = group_new(&o);
        traffic.q = queue_new();
        traffic.n_producing = PRODUCERS;
        struct producer p[PRODUCERS];
        pthread_t threads[PRODUCERS];
        for (unsigned i = 0; i < PRODUCERS; i++) {
            p[i] =
                (struct producer){.number = i, .random = random_from(1000 * (unsigned)variant + i)};
            threads[i] = thread_start(produce, &p[i]);
        }
        consume_until_done();
        threads_join(threads, PRODUCERS);
        uint64_t n_delivered = 0, n_dropped = 0;
        for (size_t i = 0; i < LENGTH(traffic.fate); i++) {
            assert_int_not_equal(traffic.fate[i], EXPECTED);
            n_delivered += traffic.fate[i] == DELIVERED;
            n_dropped += traffic.fate[i] == DROPPED;
        }
        assert_int_equal(n_delivered, traffic.by_drain + traffic.by_then + traffic.by_get);
        assert_int_equal(n_dropped, traffic.by_drop);
        assert_int_equal(stats_of(traffic.g).joined, n_delivered + n_dropped);
        assert_true(traffic.by_drain != 0 && traffic.by_then != 0 && traffic.by_drop != 0);
        assert_all_destroyed(&traffic.tally);
        assert_int_equal(sflight_queue_destroy(traffic.q), 0);
        group_end(traffic.g);
        assert_nothing_allocated(&counting);
    }
}

/* ---------------------------------------------------- destroy after a drain */

static void *complete_main(void *call)
{
    sflight_complete(call, 0);
    return NULL;
}

/* The queue may go as soon as its last completion is out, though its producer is not done. */
static void destroyed_behind_the_producer(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < rounds(3000, 500); i++) {
        sflight_queue *q = queue_new();
        sflight_completion done;
        sflight_call *call = lead(g, "key");
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 1), 0);
        pthread_t thread = thread_start(complete_main, call);
        WAIT_UNTIL(sflight_queue_drain(q, &done, 1) == 1);
        sflight_result_release(&done.result);
        assert_int_equal(sflight_queue_destroy(q), 0);
        thread_join(thread);
    }
    group_end(g);
}

/* ------------------------------------------------------------------ memory */

/* A forked child looks at all that there are, and at no other. */
static void queues_go_in_any_order(void **state)
{
    (void)state;
    static const int orders[][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}};
    for (size_t i = 0; i < LENGTH(orders); i++) {
        sflight_queue *queues[] = {queue_new(), queue_new(), queue_new()};
        for (size_t k = 0; k < LENGTH(queues); k++) {
            assert_int_equal(sflight_queue_destroy(queues[orders[i][k]]), 0);
            if (SANITIZED || EMULATED)
                continue;
            pid_t pid = fork_child();
            if (pid == 0)
                _exit(0);
            assert_child_succeeds(pid);
        }
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    bool failed = true;
    for (long k = 1; failed; k++) {
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        sflight_queue *q = queue_new();
        sflight_completion done;
        sflight_result r;
        sflight_call *call = lead(g, "key");
        sflight_future *f = join(g, "key"), *parked = join(g, "key");
        assert_true(sflight_future_fd(f) >= 0);
        assert_int_equal(sflight_future_get(parked, &in_the_past, &r), -ETIMEDOUT);
        counting_fail(&counting, k, false);
        int rc = sflight_future_enqueue(f, q, 1), parked_rc = sflight_future_enqueue(parked, q, 2);
        failed = counting_relent(&counting);
        assert_int_equal(failed, rc == -ENOMEM || parked_rc == -ENOMEM);
        assert_int_equal(stats_of(g).waiting, 2);
        if (rc != 0)
            assert_int_equal(sflight_future_enqueue(f, q, 1), 0);
        if (parked_rc != 0)
            assert_int_equal(sflight_future_enqueue(parked, q, 2), 0);
        sflight_complete(call, 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
            sflight_result_release(&done.result);
        }
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
        assert_nothing_allocated(&counting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),
        cmocka_unit_test(small_drains),
        cmocka_unit_test(a_large_drain),
        cmocka_unit_test(written_once_while_they_come),
        cmocka_unit_test(one_queue_for_many_groups),
        cmocka_unit_test(one_group_for_many_queues),
        cmocka_unit_test(the_leaders_own_among_followers),
        cmocka_unit_test(many_of_a_call_that_fails),
        cmocka_unit_test(a_crowd_enqueues),
        cmocka_unit_test(every_completion_once),
        cmocka_unit_test(destroyed_behind_the_producer),
        cmocka_unit_test(queues_go_in_any_order),
        cmocka_unit_test(out_of_memory),
    };
    return RUN_TESTS(tests);
}
