/* SPDX-License-Identifier: BSD-2-Clause */
/* What a call has to do with threads: circles of waits, slots, the end of a thread. */
#include "call_test.h"

/* ----------------------------------------------- edges of the graph of waits */

/*
 * `inner` leads "a" and waits for "b", which `outer` leads; `looker` asks if it
 * may wait for "a".  The lock of the waits is held until looker stands at it, and
 * inner takes its edge back meanwhile, which takes no lock.
 */
struct edge {
    struct sflight_group *g;
    struct party inner, outer, looker;
    struct party waits; /* inner, as a caller of "b" */
    _Atomic(pid_t) looker_tid;
};

static void step_look(void *arg)
{
    struct edge *e = arg;
    atomic_store(&e->looker_tid, thread_id());
    /* There is no circle. */
    assert_int_equal(agent_may_wait(&thread_self.agent, e->inner.call, NULL), 0);
    agent_waited(&thread_self.agent);
}

static void edge_up(struct edge *e, struct sflight_group *g)
{
    memset((void *)e, 0, sizeof(*e));
    e->g = g;
    party_start(&e->inner, g, "a");
    party_start(&e->outer, g, "b");
    party_start(&e->looker, g, "c");
    party_leads(&e->inner);
    party_leads(&e->outer);
    party_leads(&e->looker);
    e->waits = (struct party){.g = g, .key = "b"};
    actor_do(&e->inner.actor, step_claim, &e->waits);
    assert_int_equal(e->waits.rc, JOIN_FOLLOWS);
}

/* looker stands at the lock; inner waits for "b", or has just given up. */
static void edge_stop(struct edge *e, struct party *looker)
{
    actor_tell(&e->inner.actor, step_wait, &e->waits);
    WAIT_UNTIL(stats_of(e->g).parked == 1 || clock_left_ns(e->waits.deadline) == 0);
    lock_take(&agent_waits);
    actor_tell(&looker->actor, step_look, e);
    WAIT_UNTIL(atomic_load(&e->looker_tid) != 0 && thread_sleeps(atomic_load(&e->looker_tid)));
}

static void edge_go_on(struct edge *e, struct party *looker)
{
    actor_await(&e->inner.actor);
    lock_give(&agent_waits);
    actor_await(&looker->actor);
}

static void edge_down(struct edge *e)
{
    party_do(&e->inner, step_finish);
    party_do(&e->inner, step_release);
    party_do(&e->looker, step_finish);
    party_do(&e->looker, step_release);
    party_end(&e->inner);
    party_end(&e->outer);
    party_end(&e->looker);
    group_end(e->g);
}

/* inner takes "b" over.  It must not seem to wait for itself. */
static void test_edge_of_who_takes_over(void **state)
{
    (void)state;
    struct edge e;
    edge_up(&e, group_small(SFLIGHT_ABANDON_TAKEOVER));
    edge_stop(&e, &e.looker);
    party_do(&e.outer, step_abandon);
    edge_go_on(&e, &e.looker);
    assert_int_equal(e.waits.rc, TAKEN_OVER);
    actor_do(&e.inner.actor, step_enter, &e.waits);
    actor_do(&e.inner.actor, step_finish, &e.waits);
    actor_do(&e.inner.actor, step_release, &e.waits);
    edge_down(&e);
}

/*
 * inner's deadline passes and it leaves "b", which ends, is released and given
 * back.  Nobody may come to that record by the edge that inner had.
 */
static void test_edge_of_who_has_left(void **state)
{
    (void)state;
    struct flaky flaky = {0};
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){&flaky, flaky_alloc, flaky_free};
    struct edge e;
    edge_up(&e, group_new(&o));
    struct timespec soon = deadline_in_ns(20000000);
    e.waits.deadline = &soon;
    edge_stop(&e, &e.looker);
    WAIT_UNTIL(clock_left_ns(&soon) == 0);
    party_do(&e.outer, step_finish);
    party_releases(&e.outer);
    /* Nobody is in a section: it is freed. */
    assert_int_equal(reclaim_poll(&reclaim_no_lane) - ck_pr_load_uint(&reclaim_epoch.epoch), 2);
    call_free_all(e.outer.slot);
    edge_go_on(&e, &e.looker);
    if (e.waits.rc == 0)
        actor_do(&e.inner.actor, step_release, &e.waits);
    else
        assert_int_equal(e.waits.rc, -ETIMEDOUT);
    edge_down(&e);
    assert_int_equal(flaky.blocks, 0);
}

/* outer has ended "b" and now looks itself: that inner has waited for it makes no circle. */
static void test_edge_of_who_is_waking_up(void **state)
{
    (void)state;
    struct edge e;
    edge_up(&e, group_small(SFLIGHT_ABANDON_SHARE));
    edge_stop(&e, &e.outer);
    /* On behalf of outer, which stands at the lock. */
    finish_call(thread_slot(e.g), e.outer.call, 0);
    edge_go_on(&e, &e.outer);
    assert_int_equal(e.waits.rc, 0);
    actor_do(&e.inner.actor, step_release, &e.waits);
    e.outer.self->leading = NULL;
    hold_release(thread_slot(e.g), e.outer.call);
    edge_down(&e);
}

/* ------------------------------------------------------- telling a leader */

/* Who ends the call sleeps while another thread runs its callback. */
struct told {
    sflight_call *call;
    sflight_future *last;
    atomic_bool inside, ended;
    _Atomic(pid_t) leader;
};

static void tell_until_the_end_waits(void *arg)
{
    struct told *told = arg;
    atomic_store(&told->inside, true);
    WAIT_UNTIL(atomic_load(&told->leader) != 0 && thread_sleeps(atomic_load(&told->leader)));
    assert_false(told->ended);
}

static void *end_while_told(void *arg)
{
    struct told *told = arg;
    WAIT_UNTIL(told->inside);
    atomic_store(&told->leader, thread_id());
    sflight_complete(told->call, 0);
    atomic_store(&told->ended, true);
    return NULL;
}

static void test_the_end_waits_for_the_callback(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct told told = {0};
    sflight_future *none;
    sflight_call *no_call;
    assert_int_equal(sflight_begin(g, "key", 3, &told.call, &none), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &no_call, &told.last), 0);
    sflight_call_on_unwanted(told.call, tell_until_the_end_waits, &told);
    pthread_t thread = thread_start(end_while_told, &told);
    assert_int_equal(sflight_future_drop(told.last), 1);
    thread_join(thread);
    assert_true(told.inside);
    group_end(g);
}

/* ------------------------------------------------------------------- slots */

static int answer(sflight_call *call, void *arg)
{
    (void)arg;
    int *value = sflight_call_alloc(call, sizeof(*value));
    assert_non_null(value);
    *value = 42;
    return 7;
}

static void one_call(struct sflight_group *g, const char *key)
{
    sflight_result r;
    assert_int_equal(sflight_do(g, key, strlen(key), answer, NULL, &r), 0);
    assert_int_equal(r.status, 7);
    assert_int_equal(*(int *)r.value, 42);
    sflight_result_release(&r);
}

static struct flaky flaky;

/* There is no memory for a slot, but for the rest there is. */
static void *without_a_slot(void *group)
{
    struct sflight_group *g = group;
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(thread_slot(g), &g->common);
        one_call(g, "without a slot");
    }
    /* To follow, with the group's common slot. */
    struct party leader, self = {.g = g, .key = "key"};
    party_start(&leader, g, "key");
    atomic_store(&flaky.refused, 0);
    party_leads(&leader);
    atomic_store(&flaky.refused, sizeof(struct slot));
    step_claim(&self);
    assert_int_equal(self.rc, JOIN_FOLLOWS);
    assert_ptr_equal(self.slot, &g->common);
    actor_tell(&leader.actor, step_finish, &leader);
    step_wait(&self);
    assert_int_equal(self.rc, 0);
    actor_await(&leader.actor);
    step_release(&self);
    party_releases(&leader);
    party_end(&leader);
    assert_int_equal(stats_of(g).held, 0);
    atomic_store(&flaky.refused, 0);
    /* As soon as there is memory, the thread has its own. */
    one_call(g, "with a slot");
    assert_ptr_not_equal(thread_slot(g), &g->common);
    return NULL;
}

static void test_no_memory_for_a_slot(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){&flaky, flaky_alloc, flaky_free};
    struct sflight_group *g = group_new(&o);
    atomic_store(&flaky.refused, sizeof(struct slot));
    thread_join(thread_start(without_a_slot, g));
    assert_int_equal(stats_of(g).led, 5);
    group_end(g);
    assert_int_equal(flaky.blocks, 0);
}

static struct lane *others;

static void step_section_enter(void *unused)
{
    (void)unused;
    others = reclaim_enter(reclaim_lane(9));
}

static void step_section_leave(void *unused)
{
    (void)unused;
    reclaim_leave(others);
}

/* By whoever has no slot: nobody waits, and nothing is forgotten. */
static void test_retired_in_the_common_slot(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){&flaky, flaky_alloc, flaky_free};
    struct sflight_group *g = group_new(&o);
    struct actor other;

    atomic_store(&flaky.refused, sizeof(struct slot));
    actor_start(&other);
    actor_do(&other, step_section_enter, NULL);
    for (unsigned i = 1; i < 100; i++) {
        joined_call(g);
        assert_int_equal(stats_of(g).retired_pending, i);
    }
    actor_do(&other, step_section_leave, NULL);
    joined_call(g);
    assert_int_equal(stats_of(g).retired_pending, 0);
    assert_ptr_equal(thread_slot(g), &g->common);

    actor_do(&other, step_section_enter, NULL);
    joined_call(g);
    lock_take(&g->limbo_lock); /* another thread stands still there */
    joined_call(g);
    assert_non_null(atomic_load(&g->retired));
    lock_give(&g->limbo_lock);
    actor_do(&other, step_section_leave, NULL);
    joined_call(g); /* goes on with what was left */
    assert_int_equal(stats_of(g).retired_pending, 0);

    actor_do(&other, step_section_enter, NULL);
    joined_call(g);
    lock_take(&g->limbo_lock);
    joined_call(g);
    lock_give(&g->limbo_lock);
    atomic_store(&flaky.refused, 0);
    group_end(g); /* though somebody is in a section, of another group */
    assert_int_equal(flaky.blocks, 0);
    actor_do(&other, step_section_leave, NULL);
    actor_end(&other);
}

/* The slot of a thread that has ended is the next one's, records and all. */
static void *use_slot(void *arg)
{
    struct party *p = arg;
    step_claim(p);
    step_finish(p);
    step_release(p);
    return NULL;
}

static void test_slots_are_handed_on(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party first = {.g = g, .key = "k"}, next = first;
    thread_join(thread_start(use_slot, &first));
    uint64_t bytes = stats_of(g).bytes;
    for (int i = 0; i < 100; i++) {
        thread_join(thread_start(use_slot, &next));
        assert_ptr_equal(next.slot, first.slot);
        assert_ptr_equal(next.call, first.call);
    }
    assert_int_equal(stats_of(g).bytes, bytes);
    group_end(g);
}

/* A thread in more groups than its first table has places, some of which go away meanwhile. */
static void test_many_groups(void **state)
{
    (void)state;
    enum { N = 3 * THREAD_PLACES };
    struct sflight_group *g[N];
    for (size_t i = 0; i < N; i++)
        g[i] = group_small(SFLIGHT_ABANDON_SHARE);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < N; i++)
            one_call(g[i], "key");
        size_t k = (size_t)round * 7 % N;
        assert_int_equal(stats_of(g[k]).led, round + 1);
        group_end(g[k]);
        g[k] = group_small(SFLIGHT_ABANDON_SHARE);
    }
    for (size_t i = 0; i < N; i++)
        group_end(g[i]);
}

enum { MANY = 5000 };

static size_t places_of_one_group(struct sflight_group *g)
{
    size_t n = 0;
    for (size_t i = 0; i < thread_self.n_places; i++)
        n += thread_self.places[i].group == group_key(g);
    return n;
}

/* How many places are looked at for the group. */
static size_t way_to(const struct sflight_group *g)
{
    size_t n = 1;
    for (size_t i = (g->number & thread_self.mask) / sizeof(struct slot_place);
         thread_self.places[i].group != group_key(g); i = (i + 1) % thread_self.n_places)
        n++;
    return n;
}

enum { FEW = 1 + THREAD_PLACES / 2 };

struct many {
    struct sflight_group *g[MANY];
    sem_t used, go;
};

/* Its second use of each group takes no lock: the registry's is held meanwhile. */
static void *use_all_twice(void *arg)
{
    struct many *m = arg;
    size_t sum = 0;
    for (size_t i = 0; i < MANY; i++)
        one_call(m->g[i], "key");
    sem_post(&m->used);
    sem_take(&m->go);
    for (size_t i = 0; i < MANY; i++) {
        one_call(m->g[i], "key");
        assert_int_equal(places_of_one_group(m->g[i]), 1);
        assert_in_range(way_to(m->g[i]), 1, 40);
        sum += way_to(m->g[i]);
    }
    assert_true(sum < 2 * MANY);
    sem_post(&m->used);
    sem_take(&m->go);
    /* What has gone takes no place for long, and the table becomes small again. */
    for (int i = 0; i < 2 * MANY; i++) {
        struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
        one_call(g, "key");
        group_end(g);
    }
    assert_int_equal(thread_self.n_places, THREAD_PLACES);
    assert_ptr_equal(thread_self.places, thread_self.first);
    return NULL;
}

/* Nor does its first use of one wait for who has the lock: it counts in the common slot. */
static void use_in_common_slot(struct sflight_group *g)
{
    one_call(g, "key");
    assert_ptr_equal(thread_slot(g), &g->common);
}

static void use_in_own_slot(struct sflight_group *g)
{
    one_call(g, "key");
    assert_ptr_not_equal(thread_slot(g), &g->common);
}

/* The last needs a larger table, too.  Later it has its own slot. */
static void *use_one_more(void *arg)
{
    struct many *m = arg;
    for (size_t i = 1; i < FEW; i++)
        use_in_own_slot(m->g[i]);
    sem_post(&m->used);
    sem_take(&m->go);
    use_in_common_slot(m->g[0]);
    for (size_t i = 1; i < FEW; i++)
        use_in_own_slot(m->g[i]);
    sem_post(&m->used);
    sem_take(&m->go);
    use_in_own_slot(m->g[0]);
    return NULL;
}

/* It is in no list when it ends. */
static void *use_once(void *arg)
{
    struct many *m = arg;
    use_in_common_slot(m->g[0]);
    sem_post(&m->used);
    return NULL;
}

static void test_first_use_beside_the_registry_lock(void **state)
{
    (void)state;
    struct many m = {0};
    assert_int_equal(sem_init(&m.used, 0, 0) | sem_init(&m.go, 0, 0), 0);
    for (size_t i = 0; i < FEW; i++)
        m.g[i] = group_small(SFLIGHT_ABANDON_SHARE);
    pthread_t more = thread_start(use_one_more, &m);
    sem_take(&m.used);
    registry_lock();
    sem_post(&m.go);
    sem_take(&m.used);
    pthread_t once = thread_start(use_once, &m);
    sem_take(&m.used);
    registry_unlock();
    thread_join(once);
    sem_post(&m.go);
    thread_join(more);
    assert_int_equal(stats_of(m.g[0]).led, 3);
    for (size_t i = 0; i < FEW; i++)
        group_end(m.g[i]);
}

/* Every 37th group that is made, so that the numbers are not those of neighbours. */
static void test_slots_are_found_without_a_lock(void **state)
{
    (void)state;
    struct many *m = calloc(1, sizeof(*m));
    sem_init(&m->used, 0, 0);
    sem_init(&m->go, 0, 0);
    for (size_t i = 0; i < MANY; i++) {
        for (int skipped = 0; i % 50 == 0 && skipped < 36; skipped++)
            group_end(group_small(SFLIGHT_ABANDON_SHARE));
        m->g[i] = group_small(SFLIGHT_ABANDON_SHARE);
    }
    pthread_t thread = thread_start(use_all_twice, m);
    sem_take(&m->used);
    registry_lock();
    sem_post(&m->go);
    sem_take(&m->used);
    registry_unlock();
    for (size_t i = 0; i < MANY; i++)
        group_end(m->g[i]);
    sem_post(&m->go);
    thread_join(thread);
    sem_destroy(&m->used);
    sem_destroy(&m->go);
    free(m);
}

/* ----------------------------------------------------------- a thread's end */

static pthread_key_t late_key;
static atomic_int n_late;

/* Runs after the library's own destructor: keys are destroyed in the order of their making. */
static void late_destructor(void *group)
{
    struct sflight_group *g = group;
    assert_true(thread_self.ending);
    assert_ptr_equal(thread_slot(g), &g->common);
    one_call(g, "a key");
    one_call(g, "a key that is longer than twenty-four bytes");
    assert_int_equal(sflight_forget(g, "a key", 5), 0);
    atomic_fetch_add(&n_late, 1);
}

static void *end_late(void *group)
{
    one_call(group, "in time");
    assert_int_equal(pthread_setspecific(late_key, group), 0);
    return NULL;
}

static void test_calls_from_a_late_destructor(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    assert_int_equal(pthread_key_create(&late_key, late_destructor), 0);
    for (int i = 1; i <= 10; i++) {
        thread_join(thread_start(end_late, g));
        assert_int_equal(n_late, i);
        assert_int_equal(stats_of(g).led, 3 * i);
    }
    pthread_key_delete(late_key);
    group_end(g);
}

/* It ends while it leads calls whose fn it left by longjmp(): they are abandoned. */
static void *end_while_leading(void *arg)
{
    struct party *p = arg;
    step_claim(p);
    step_enter(p);
    p[1].g = p->g;
    step_claim(&p[1]);
    step_enter(&p[1]);
    return NULL;
}

static void test_end_while_leading(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct sflight_group *g =
            group_small(takeover ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE);
        struct party p[2] = {{.g = g, .key = "1"}, {.key = "2"}};
        thread_join(thread_start(end_while_leading, p));
        sflight_stats s = stats_of(g);
        assert_int_equal(s.abandoned, 2);
        assert_int_equal(s.taken_over, 0);
        one_call(g, "1");
        one_call(g, "2");
        group_end(g);
    }
}

/* ----------------------------------------------------------- what is counted once */

enum { INHERITED = 200000 };

static void *release_inherited(void *g)
{
    struct slot *slot = thread_slot(g);
    for (int i = 0; i < INHERITED; i++)
        hold_released_inherited(slot);
    return NULL;
}

/* Two threads give up what came over a fork: each hold is counted by one of them. */
static void test_inherited_holds_are_counted_once(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    pthread_t threads[2];
    gauges_count_n(thread_slot(g), COUNT_HELD, INHERITED);
    atomic_store(&g->n_inherited, INHERITED);
    threads_start(threads, LENGTH(threads), release_inherited, g);
    threads_join(threads, LENGTH(threads));
    uint64_t n_released = 0;
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group)
        n_released += atomic_load(&slot->counters.n[COUNT_RELEASED]);
    assert_int_equal(g->n_inherited, 0);
    assert_int_equal(n_released, INHERITED); /* none twice */
    assert_int_equal(sflight_group_destroy(g), 0);
}

/* In a child the thread that forked has the slots that it had, whichever group it uses first. */
static void test_a_child_keeps_its_slots(void **state)
{
    (void)state;
    enum { N = 3 };
    struct sflight_group *g[N];
    struct slot *own[N];
    for (int i = 0; i < N; i++) {
        g[i] = group_small(SFLIGHT_ABANDON_SHARE);
        own[i] = thread_slot(g[i]);
    }
    for (int first = 0; first < N; first++) {
        pid_t child = fork_child();
        if (child == 0) {
            int n_others = 0;
            for (int i = 0; i < N; i++) {
                int k = (first + i) % N;
                n_others += thread_slot(g[k]) != own[k] || atomic_load(&g[k]->n_threads) != 1;
            }
            _exit(n_others);
        }
        assert_child_succeeds(child);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(sflight_group_destroy(g[i]), 0);
}

/* Another thread had put futures into the list, and had not counted them yet. */
static void test_a_child_counts_spare_futures(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    sflight_call *call, *none;
    sflight_future *f;
    assert_int_equal(sflight_begin(g, "key", 3, &call, &f), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
    sflight_future_drop(f);
    (void)sflight_complete(call, 0);
    struct slot *slot = thread_slot(g);
    unsigned n = slot->n_spare_futures;
    assert_true(n > 1);
    slot->n_spare_futures = 1;
    pid_t child = fork_child();
    if (child == 0) {
        sflight_stats s;
        (void)sflight_group_stats(g, &s); /* puts the group right */
        _exit(slot->n_spare_futures == n ? 0 : 1);
    }
    assert_child_succeeds(child);
    slot->n_spare_futures = n;
    assert_int_equal(sflight_group_destroy(g), 0);
}

/* Who joins does not disturb who sleeps: the futex word stays as it is. */
struct sleeper {
    struct party party;
    _Atomic(pid_t) tid;
};

static void step_sleep(void *arg)
{
    struct sleeper *s = arg;
    atomic_store(&s->tid, thread_id());
    step_wait(&s->party);
}

static void test_joiners_leave_sleepers_alone(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party leader, late;
    struct sleeper s = {0};
    party_start(&leader, g, "key");
    party_start(&s.party, g, "key");
    party_start(&late, g, "key");
    party_leads(&leader);
    party_joins(&s.party, &leader);
    uint64_t word = atomic_load(&leader.call->gate);
    party_joins(&late, &leader);
    assert_int_equal(atomic_load(&leader.call->gate), word);
    actor_tell(&s.party.actor, step_sleep, &s);
    WAIT_UNTIL(stats_of(g).parked == 1 && thread_sleeps(atomic_load(&s.tid)));
    party_finishes(&leader);
    actor_await(&s.party.actor);
    party_waits(&late, 0);
    party_releases(&leader);
    party_releases(&s.party);
    party_releases(&late);
    party_end(&leader);
    party_end(&s.party);
    party_end(&late);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_waits_for_the_callback),
        cmocka_unit_test(test_no_memory_for_a_slot),
        cmocka_unit_test(test_retired_in_the_common_slot),
        cmocka_unit_test(test_slots_are_handed_on),
        cmocka_unit_test(test_a_child_keeps_its_slots),
        cmocka_unit_test(test_a_child_counts_spare_futures),
        cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_slots_are_found_without_a_lock),
        cmocka_unit_test(test_first_use_beside_the_registry_lock),
        cmocka_unit_test(test_calls_from_a_late_destructor),
        cmocka_unit_test(test_end_while_leading),
        cmocka_unit_test(test_edge_of_who_has_left),
        cmocka_unit_test(test_edge_of_who_takes_over),
        cmocka_unit_test(test_edge_of_who_is_waking_up),
        cmocka_unit_test(test_inherited_holds_are_counted_once),
        cmocka_unit_test(test_joiners_leave_sleepers_alone),
    };
    return RUN_TESTS(tests);
}
