/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chaos [SECONDS [SEED]] - eight processes with four threads each want a few keys, on a server of
 * their own, while processes and server are killed, stopped, cut off and robbed.  What they do is
 * written down in shared memory, and an oracle reads it (chaos_log.h).
 *
 * It goes in rounds: each has new processes and the next seed, and deals every fault from a
 * shuffled deck.  A seed decides the faults, their order, and whatever the callers choose; not how
 * the processes are scheduled.  A fault lasts until something has been seen, or until so many calls
 * have been made, and the next one comes when every thread has made calls again and every process
 * is connected.  Rounds begin until so many SECONDS are over (0: one round).
 */
#include "chaos_log.h"

#include <poll.h>

enum {
    ENGINE_TIMEOUT_MS = 100,
    MAX_AGE_MS = 5000,
    MAX_VALUE = 65536,
    FAULT_CALLS = 150, /* made by all, in which a fault goes on */
    FAULT_TIME_OUTS = 4,
};

enum hold { HOLD_NONE, HOLD_ARMED, HOLD_HELD };

enum fault {
    KILL,         /* a process that runs fn, until another runs it */
    STOP,         /* the same, and then it goes on: what it publishes is late */
    PAUSE,        /* any process, for a while */
    HOLD,         /* a run, until callers were timed out */
    RESTART,      /* the server, which forgets everything */
    FREEZE,       /* the server, for a while */
    FLUSH,        /* all slots and results */
    FLUSH_SCRIPT, /* all scripts */
    DELETE,       /* a slot */
    PERSIST,      /* a slot, until it has a time to live again */
    ORPHAN,       /* a slot whose process is killed then */
    CUT_COMMANDS, /* all connections for commands */
    CUT_INBOXES,
    N_FAULTS
};

static const struct {
    const char *name;
    unsigned n; /* in a deck */
} faults[N_FAULTS] = {
    [KILL] = {"kill", 3},
    [STOP] = {"stop", 3},
    [PAUSE] = {"pause", 2},
    [HOLD] = {"hold", 2},
    [RESTART] = {"restart", 2},
    [FREEZE] = {"freeze", 2},
    [FLUSH] = {"flush", 2},
    [FLUSH_SCRIPT] = {"flush-script", 1},
    [DELETE] = {"delete", 3},
    [PERSIST] = {"persist", 2},
    [ORPHAN] = {"orphan", 2},
    [CUT_COMMANDS] = {"cut-commands", 3},
    [CUT_INBOXES] = {"cut-inboxes", 3},
};

static struct server_process server;
static struct log *chaos_log;
static uint64_t seed, choices; /* of the controller */

/* --------------------------------------------------------------- callers */

static struct {
    unsigned incarnation;
    sflight_fleet *fleets[KEYS]; /* of one key each, so that each key has its own numbers */
} here;

struct thread {
    unsigned number;
    uint64_t choices;
    pthread_t thread;
};

/* Of the caller of this thread. */
struct work {
    uint8_t key;
    uint32_t call;
    uint64_t explained_before;
    uint64_t *choices;
};

struct value {
    uint32_t magic, run, key, size;
    unsigned char bytes[];
};

enum { MAGIC = 0x5F11C4A0 };

static unsigned char byte_of(uint32_t run, size_t i)
{
    return (unsigned char)(run * 31 + i * 7);
}

static bool is_value(const sflight_result *r, uint32_t *run)
{
    const struct value *v = r->value;
    if (v == NULL || r->size < sizeof *v || v->magic != MAGIC || v->size != r->size)
        return false;
    for (size_t i = 0; i < v->size - sizeof *v; i++)
        if (v->bytes[i] != byte_of(v->run, i))
            return false;
    *run = v->run;
    return true;
}

/* What the work takes; nothing waits for it. */
static void take_time(uint64_t *rng)
{
    struct timespec t = {.tv_nsec = (long)random_pick(rng, 8) * 1000000};
    if (random_pick(rng, 20) == 0)
        t.tv_nsec *= 10;
    (void)ppoll(NULL, 0, &t, NULL);
}

static void wait_while_held(unsigned key, uint32_t run)
{
    int armed = HOLD_ARMED;
    if (!atomic_compare_exchange_strong(&chaos_log->hold[key], &armed, HOLD_HELD))
        return;
    atomic_store(&chaos_log->held_run[key], run);
    while (atomic_load(&chaos_log->hold[key]) == HOLD_HELD)
        (void)poll(NULL, 0, 1);
}

static int run_fn(sflight_call *call, void *arg)
{
    struct work *w = arg;
    uint32_t n = atomic_fetch_add(&chaos_log->n_runs, 1);
    if (n >= MAX_RUNS) {
        atomic_store(&chaos_log->stop, true);
        n = MAX_RUNS - 1;
    }
    struct run *r = &chaos_log->runs[n];
    r->incarnation = (uint16_t)here.incarnation;
    r->key = w->key;
    r->status = (int)random_pick(w->choices, 1000);
    r->call = w->call;
    r->explained_before = w->explained_before;
    r->begin_ns = now_ns();
    wait_while_held(w->key, n);
    take_time(w->choices);
    unsigned luck = random_pick(w->choices, 100);
    size_t size = sizeof(struct value) + (luck == 0   ? MAX_VALUE
                                          : luck <= 5 ? 40000
                                                      : random_pick(w->choices, 100));
    struct value *v = sflight_call_alloc(call, size);
    assert_non_null(v);
    *v = (struct value){MAGIC, n, w->key, (uint32_t)size};
    for (size_t i = 0; i < size - sizeof *v; i++)
        v->bytes[i] = byte_of(n, i);
    atomic_store(&r->end_ns, now_ns());
    atomic_store(&chaos_log->incarnations[here.incarnation].is_unsettled[w->key], true);
    return r->status;
}

/* Writes the numbers down, if nothing of what has ended by now is still to be counted. */
static void sample(unsigned key)
{
    struct incarnation *in = &chaos_log->incarnations[here.incarnation];
    if (!atomic_exchange(&in->is_unsettled[key], false))
        return;
    uint64_t ns = now_ns();
    if (FLEET_COUNT(here.fleets[key], leading) != 0) {
        atomic_store(&in->is_unsettled[key], true);
        return;
    }
    sflight_fleet_counters c = fleet_counters(here.fleets[key]);
    unsigned n = atomic_fetch_add(&chaos_log->n_samples, 1);
    assert_true(n < LENGTH(chaos_log->samples));
    struct sample *s = &chaos_log->samples[n];
    s->incarnation = (uint16_t)here.incarnation;
    s->key = (uint8_t)key;
    s->explained = explained_runs(&c);
    atomic_store(&s->ns, ns);
}

static void call_once(struct thread *t)
{
    uint8_t key = (uint8_t)random_pick(&t->choices, KEYS);
    uint32_t n = atomic_fetch_add(&chaos_log->n_calls, 1);
    if (n >= MAX_CALLS) {
        atomic_store(&chaos_log->stop, true);
        return;
    }
    struct call *c = &chaos_log->calls[n];
    struct timespec deadline;
    sflight_fleet *f = here.fleets[key];
    sflight_fleet_counters before = fleet_counters(f);
    struct work w = {key, n, explained_runs(&before), &t->choices};
    sflight_result r;
    bool has_deadline = key >= TIMELESS_KEYS && random_pick(&t->choices, 2) == 0;
    c->incarnation = (uint16_t)here.incarnation;
    c->key = key;
    c->begin_ns = now_ns();
    if (has_deadline) {
        deadline = deadline_in_ns((int64_t)random_pick(&t->choices, 60) * 1000000);
        c->deadline_ns = (uint64_t)deadline.tv_sec * 1000000000u + (uint64_t)deadline.tv_nsec;
    }
    c->rc = sflight_fleet_do(f, "k", 1, run_fn, &w, has_deadline ? &deadline : NULL, &r);
    uint64_t end_ns = now_ns();
    if (c->rc == 0) {
        c->is_value = is_value(&r, &c->run);
        c->leader = r.leader;
        c->status = r.status;
        sflight_result_release(&r);
    } else if (c->rc == -ETIMEDOUT) {
        atomic_fetch_add(&chaos_log->n_timed_out[key], 1);
    }
    atomic_store(&c->end_ns, end_ns);
    sample(key);
}

static void forget(struct thread *t)
{
    uint8_t key = (uint8_t)random_pick(&t->choices, KEYS);
    unsigned n = atomic_fetch_add(&chaos_log->n_forgets, 1);
    if (n >= MAX_FORGETS)
        return;
    struct forget *f = &chaos_log->forgets[n];
    f->key = key;
    f->begin_ns = now_ns();
    f->rc = sflight_fleet_forget(here.fleets[key], "k", 1);
    assert_true(f->rc == 0 || f->rc == 1 || f->rc == -EHOSTUNREACH);
    atomic_store(&f->end_ns, now_ns());
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct incarnation *in = &chaos_log->incarnations[here.incarnation];
    while (!atomic_load(&chaos_log->stop)) {
        if (random_pick(&t->choices, 300) == 0)
            forget(t);
        call_once(t);
        sflight_fleet_counters c = fleet_counters(here.fleets[0]);
        atomic_store(&in->is_connected, c.connected == 1 && c.inbox_ready == 1);
        atomic_fetch_add(&in->n_ended[t->number], 1);
    }
    return NULL;
}

/* Not one that dies; each has its own name, which is its key. */
static void create_fleets(sflight_fleet *fleets[KEYS], bool is_tcp)
{
    for (unsigned key = 0; key < KEYS; key++) {
        sflight_fleet_options o;
        char name[16];
        snprintf(name, sizeof name, "chaos.%u", key);
        fleet_options(&o, &server, name);
        o.address = is_tcp ? server.tcp_address : server.address;
        o.engine_timeout_ms = ENGINE_TIMEOUT_MS;
        o.lease_ms = LEASE_MS;
        o.max_age_ms = MAX_AGE_MS;
        o.max_value = MAX_VALUE;
        fleets[key] = fleet_create(&o);
    }
}

static void process_main(unsigned incarnation)
{
    struct incarnation *in = &chaos_log->incarnations[incarnation];
    struct thread threads[THREADS];
    here.incarnation = incarnation;
    create_fleets(here.fleets, incarnation % 2 == 1);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i].number = i;
        threads[i].choices = random_from(seed * 1000 + incarnation * THREADS + i);
        threads[i].thread = thread_start(thread_main, &threads[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        thread_join(threads[i].thread);
    for (unsigned key = 0; key < KEYS; key++) {
        assert_int_equal(sflight_fleet_close(here.fleets[key], NULL), 0);
        /* The engine thread lets go of what was closed a moment later. */
        WAIT_UNTIL(FLEET_COUNT(here.fleets[key], bytes) == 0);
        in->counters[key] = fleet_counters(here.fleets[key]);
        atomic_store(&in->is_unsettled[key], true);
        sample(key);
    }
    atomic_store(&in->has_closed, true);
    for (unsigned key = 0; key < KEYS; key++)
        assert_int_equal(sflight_fleet_destroy(here.fleets[key]), 0);
    _exit(0);
}

/* ------------------------------------------------------------ controller */

static unsigned processes[PROCESSES]; /* their incarnations */

/* The log is full; faults end then. */
static bool is_over(void)
{
    return atomic_load(&chaos_log->stop);
}

/* With the processor given up, for the others are many. */
#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        while (!(condition) && !is_over())                                                         \
            (void)poll(NULL, 0, 1);                                                                \
    } while (0)

static void start_process(unsigned place)
{
    unsigned n = chaos_log->n_incarnations++;
    assert_true(n < INCARNATIONS);
    pid_t pid = fork_worker();
    if (pid == 0)
        process_main(n);
    chaos_log->incarnations[n].pid = pid;
    processes[place] = n;
}

static void kill_process(unsigned place)
{
    struct incarnation *in = &chaos_log->incarnations[processes[place]];
    kill(in->pid, SIGKILL);
    assert_int_equal(waitpid(in->pid, NULL, 0), in->pid);
    in->killed_ns = now_ns();
}

static void stop_process(unsigned place)
{
    pid_t pid = chaos_log->incarnations[processes[place]].pid;
    int status;
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

static void continue_process(unsigned place)
{
    kill(chaos_log->incarnations[processes[place]].pid, SIGCONT);
}

static unsigned place_of(unsigned incarnation)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        if (processes[i] == incarnation)
            return i;
    return PROCESSES;
}

static unsigned runs_so_far(void)
{
    return count_below(atomic_load(&chaos_log->n_runs), MAX_RUNS);
}

/* The next run for the key, held. */
static const struct run *hold(unsigned key)
{
    atomic_store(&chaos_log->hold[key], HOLD_ARMED);
    AWAIT(atomic_load(&chaos_log->hold[key]) == HOLD_HELD &&
          atomic_load(&chaos_log->held_run[key]) != UINT32_MAX);
    return is_over() ? NULL : &chaos_log->runs[atomic_load(&chaos_log->held_run[key])];
}

static void let_go(unsigned key)
{
    atomic_store(&chaos_log->hold[key], HOLD_NONE);
    atomic_store(&chaos_log->held_run[key], UINT32_MAX);
}

/* Another process has begun a run for the key since. */
static bool another_runs(unsigned key, unsigned first_run, unsigned incarnation)
{
    unsigned n = runs_so_far();
    for (unsigned i = first_run; i < n; i++)
        if (chaos_log->runs[i].begin_ns != 0 && chaos_log->runs[i].key == key &&
            chaos_log->runs[i].incarnation != incarnation)
            return true;
    return false;
}

static void go_on_for_calls(unsigned n)
{
    unsigned before = atomic_load(&chaos_log->n_calls);
    AWAIT(atomic_load(&chaos_log->n_calls) - before >= n);
}

static void hold_and(enum fault fault)
{
    unsigned key = random_pick(&choices, KEYS);
    const struct run *r = hold(key);
    if (r == NULL) {
        let_go(key);
        return;
    }
    unsigned incarnation = r->incarnation, place = place_of(incarnation), before = runs_so_far();
    if (fault == ORPHAN) {
        chaos_log->persisted_ns[key] = now_ns();
        (void)server_ask(&server, "PERSIST sf:chaos.%u{:k}", key);
    }
    if (fault == STOP)
        stop_process(place);
    else
        kill_process(place);
    atomic_store(&chaos_log->hold[key], HOLD_NONE);
    atomic_store(&chaos_log->held_run[key], UINT32_MAX);
    AWAIT(another_runs(key, before, incarnation));
    if (fault == STOP)
        continue_process(place);
    else
        start_process(place);
}

static void hold_for_deadlines(void)
{
    unsigned key = TIMELESS_KEYS + random_pick(&choices, KEYS - TIMELESS_KEYS);
    (void)hold(key);
    unsigned before = atomic_load(&chaos_log->n_timed_out[key]);
    AWAIT(atomic_load(&chaos_log->n_timed_out[key]) - before >= FAULT_TIME_OUTS);
    let_go(key);
}

/* PTTL says -1 of what stays. */
static void persist_slot(void)
{
    unsigned key = random_pick(&choices, KEYS);
    AWAIT((chaos_log->persisted_ns[key] = now_ns(),
           server_ask(&server, "PERSIST sf:chaos.%u{:k}", key) == 1));
    AWAIT(server_ask(&server, "PTTL sf:chaos.%u{:k}", key) != -1);
    chaos_log->persisted_ns[key] = now_ns();
}

static void delete_slot(void)
{
    unsigned key = random_pick(&choices, KEYS);
    AWAIT(server_ask(&server, "DEL sf:chaos.%u{:k}", key) == 1);
}

static void inflict(enum fault fault)
{
    unsigned place = random_pick(&choices, PROCESSES);
    switch (fault) {
    case KILL:
    case STOP:
    case ORPHAN:
        hold_and(fault);
        break;
    case PAUSE:
        stop_process(place);
        go_on_for_calls(FAULT_CALLS);
        continue_process(place);
        break;
    case HOLD:
        hold_for_deadlines();
        break;
    case RESTART:
        server_kill(&server);
        go_on_for_calls(FAULT_CALLS);
        server_start(&server);
        break;
    case FREEZE:
        server_freeze(&server);
        go_on_for_calls(FAULT_CALLS);
        server_thaw(&server);
        break;
    case FLUSH:
        (void)server_ask(&server, "FLUSHALL");
        break;
    case FLUSH_SCRIPT:
        (void)server_ask(&server, "SCRIPT FLUSH");
        break;
    case DELETE:
        delete_slot();
        break;
    case PERSIST:
        persist_slot();
        break;
    case CUT_COMMANDS:
        (void)server_ask(&server, "CLIENT KILL TYPE normal SKIPME yes");
        break;
    default:
        (void)server_ask(&server, "CLIENT KILL TYPE pubsub");
    }
}

/* Every thread goes on, and every process is connected. */
static void recover(void)
{
    unsigned before[PROCESSES][THREADS];
    for (unsigned p = 0; p < PROCESSES; p++)
        for (unsigned t = 0; t < THREADS; t++)
            before[p][t] = atomic_load(&chaos_log->incarnations[processes[p]].n_ended[t]);
    for (unsigned p = 0; p < PROCESSES; p++) {
        struct incarnation *in = &chaos_log->incarnations[processes[p]];
        for (unsigned t = 0; t < THREADS; t++)
            AWAIT(atomic_load(&in->n_ended[t]) - before[p][t] >= 2);
        AWAIT(atomic_load(&in->is_connected));
    }
}

static long long keys_that_stay(void)
{
    return server_ask(&server, "EVAL %s 0",
                      "local n=0 for _,k in ipairs(redis.call('KEYS','*')) do "
                      "if redis.call('PTTL',k)==-1 then n=n+1 end end return n");
}

static unsigned shuffled_deck(uint8_t deck[64])
{
    unsigned n = 0;
    for (unsigned f = 0; f < N_FAULTS; f++)
        for (unsigned i = 0; i < faults[f].n; i++)
            deck[n++] = (uint8_t)f;
    for (unsigned i = n; i > 1; i--) {
        unsigned k = random_pick(&choices, i);
        uint8_t swap = deck[i - 1];
        deck[i - 1] = deck[k];
        deck[k] = swap;
    }
    return n;
}

/* A last flight for each key, so that what was left to stay does not; then nothing is left. */
static bool leaves_nothing(void)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet *fleets[KEYS];
    create_fleets(fleets, false);
    for (unsigned key = 0; key < KEYS; key++) {
        sflight_result r;
        assert_int_equal(sflight_fleet_check(fleets[key], NULL, NULL, 0), 0);
        assert_int_equal(fleet_do(fleets[key], "k", fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
    }
    for (unsigned key = 0; key < KEYS; key++)
        fleet_free(fleets[key]);
    if (keys_that_stay() != 0)
        return false;
    while (server_ask(&server, "DBSIZE") != 0) /* within a lease and the time that results stay */
        (void)poll(NULL, 0, 10);
    return true;
}

/* How many things are wrong. */
static unsigned play_round(unsigned totals[N_FAULTS])
{
    uint8_t deck[64];
    struct oracle o;
    unsigned n_stay = 0, n_faults = 0;
    chaos_log = shared_memory(sizeof *chaos_log);
    choices = random_from(seed);
    server_new(&server, NULL);
    for (unsigned key = 0; key < KEYS; key++)
        let_go(key);
    for (unsigned i = 0; i < PROCESSES; i++)
        start_process(i);
    recover();
    for (unsigned n = shuffled_deck(deck); n_faults < n && !is_over(); n_faults++) {
        inflict((enum fault)deck[n_faults]);
        recover();
        totals[deck[n_faults]]++;
        if (keys_that_stay() != 0) {
            printf("# wrong: a key stays after %s\n", faults[deck[n_faults]].name);
            n_stay++;
        }
    }
    atomic_store(&chaos_log->stop, true);
    for (unsigned key = 0; key < KEYS; key++)
        let_go(key);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_child_succeeds(chaos_log->incarnations[processes[i]].pid);
    if (!leaves_nothing()) {
        printf("# wrong: a key stays after the last flight\n");
        n_stay++;
    }
    oracle_check(&o, chaos_log);
    uint64_t refused = 0, lost = 0;
    for (unsigned i = 0; i < chaos_log->n_incarnations; i++)
        for (unsigned key = 0; key < KEYS; key++) {
            refused += chaos_log->incarnations[i].counters[key].refused;
            lost += chaos_log->incarnations[i].counters[key].leases_lost;
        }
    printf("seed %llu: %u faults, %u calls, %u runs, %u received, %u overlaps, %llu leases lost, "
           "%llu refused, %u wrong; latest %llu us after its deadline\n",
           (unsigned long long)seed, n_faults, o.n_calls, o.n_runs, o.n_received, o.n_overlaps,
           (unsigned long long)lost, (unsigned long long)refused, o.n_wrong + n_stay,
           (unsigned long long)o.latest_ns / 1000);
    fflush(stdout);
    server_free(&server);
    munmap(chaos_log, sizeof *chaos_log);
    return o.n_wrong + n_stay;
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0, begin = now_ns();
    unsigned totals[N_FAULTS] = {0}, n_wrong = 0, rounds_played = 0;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    do {
        n_wrong += play_round(totals);
        seed++;
        rounds_played++;
    } while (n_wrong == 0 && now_ns() - begin < seconds * 1000000000u);
    printf("%u rounds:", rounds_played);
    for (unsigned f = 0; f < N_FAULTS; f++)
        printf(" %s %u", faults[f].name, totals[f]);
    printf("\nResult: %s\n", n_wrong == 0 ? "PASS" : "FAIL");
    return n_wrong == 0 ? 0 : 1;
}
