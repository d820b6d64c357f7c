/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All interleavings of a few calls on one key, in two or three processes, with a model of the
 * engine between them, in virtual time: a depth-first search over states, each visited once.
 *
 * What may happen at any moment: a call begins; the engine carries out the next command of a
 * process; the next reply, or the next push, reaches it; fn returns; a timer is due; a link or an
 * inbox is there again; a command that a lost link has carried is carried out after all, or never.
 * Time goes on when nothing is under way that takes no time.  Besides, so many faults (enum fault).
 *
 * What is checked: promises 1 to 4 and 6 of singleflight_fleet.h, as far as one key shows them (see
 * told(), check_moment(), check_end()), and that the graph of states has no circle: nothing goes on
 * for ever.
 *
 * Usage: test_flight_interleavings              the part for every day
 *        test_flight_interleavings 011 2 [GCR]  one search: the process of each call; how many
 *                                               faults; G: values are too long for pushes, C: at
 *                                               first nothing is connected, R: with restarts of
 *                                               the engine, too
 *        test_flight_interleavings random N SEED   so many random ways of more calls and faults
 */
#include "moves.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* -------------------------------------------------------------------------------- the search */

static struct {
    struct world *at; /* [DEPTH] */
    struct action *done;
    int depth, deepest;
    uint64_t *seen; /* hashes; the lowest bit: it is on the way to the present state */
    uint64_t n_seen, n_places, n_steps, n_ends;
} search;

static void print_way(void)
{
    for (int i = 0; i < search.depth; i++) {
        const struct action *a = &search.done[i];
        fprintf(stderr, "# %6lld ms  %s%s%s %u\n", (long long)search.at[i].engine.now_ms,
                kind_names[a->kind], a->kind == FAULT ? ": " : "",
                a->kind == FAULT ? fault_names[a->fault] : "", a->who);
    }
}

static uint64_t from_now(uint64_t ns, uint64_t now_ns)
{
    return ns == FLIGHT_NEVER ? ns : ns <= now_ns ? 0 : ns - now_ns;
}

/* A call without what has no meaning any more, and with times from now on. */
static struct call essence(const struct world *w, int c)
{
    struct call k = w->call[c];
    uint64_t now_ns = (uint64_t)w->engine.now_ms * MS;
    int64_t age_ms = w->engine.now_ms - k.returned_ms, old_ms = 5 * LEASE_MS;
    bool all_begun = true, waits = k.f.state == FLIGHT_IN_CLAIM || k.f.state == FLIGHT_IN_WAIT;

    for (int i = 0; i < w->n_calls; i++)
        all_begun &= w->call[i].begun;
    k.f.options = NULL;
    k.f.link = NULL;
    k.f.timer_ns = from_now(k.f.timer_ns, now_ns);
    k.f.wait_until_ns = waits ? from_now(k.f.wait_until_ns, now_ns) : 0;
    k.f.give_up_ns = waits ? from_now(k.f.give_up_ns, now_ns) : 0;
    k.f.lead_until_ns = k.f.state == FLIGHT_IN_LEAD ? from_now(k.f.lead_until_ns, now_ns) : 0;
    if (!waits) {
        memset(k.f.joined, 0, sizeof(k.f.joined));
        k.f.has_joined = k.f.rejoin = k.f.again = k.f.rechecks = k.f.forgotten = false;
        k.f.behind_sibling = false;
    }
    if (k.f.state != FLIGHT_IN_DROP)
        memset(k.f.drop_token, 0, sizeof(k.f.drop_token));
    if (k.f.outcome != FLIGHT_LEAD)
        k.f.outcome = FLIGHT_UNTOLD;
    k.limit_ms = waits && k.flying ? k.limit_ms - w->engine.now_ms : 0;
    k.banned = waits && k.flying ? k.banned : 0;
    k.overlaps = k.causes ? 0 : k.overlaps;
    k.returned_ms = all_begun                   ? 0
                    : k.returned_ms == NEVER_MS ? -1
                    : age_ms < old_ms           ? age_ms
                                                : old_ms;
    return k;
}

/* What makes one state different from another, as far as it is used. */
static uint64_t hash_of(const struct world *w)
{
    static unsigned char bytes[sizeof(struct world)];
    unsigned char *at = bytes;

#define PUT(from, size) at = (unsigned char *)memcpy(at, from, size) + (size)
    for (size_t i = 0; i < ENGINE_KEYS && w->engine.key[i].name_len != 0; i++) {
        const struct engine_key *k = &w->engine.key[i];
        int64_t left_ms = k->expires_ms - w->engine.now_ms;
        PUT(&left_ms, sizeof(left_ms));
        PUT(&k->name_len, 2 * sizeof(k->len));
        PUT(k->name, k->name_len);
        PUT(k->value, k->len);
    }
    for (int i = 0; i < w->n_processes; i++) {
        const struct process *p = &w->process[i];
        PUT(p, offsetof(struct process, commands));
        PUT(p->commands, p->n_commands * sizeof(p->commands[0]));
        PUT(p->replies, p->n_replies * sizeof(p->replies[0]));
        PUT(p->pushes, p->n_pushes * sizeof(p->pushes[0]));
    }
    for (int i = 0; i < BATCHES; i++) {
        PUT(&w->batch[i], offsetof(struct batch, commands));
        PUT(w->batch[i].commands, w->batch[i].n * sizeof(w->batch[i].commands[0]));
    }
    for (int i = 0; i < w->n_calls; i++) {
        struct call k = essence(w, i);
        PUT(&k, sizeof(k));
    }
    PUT(&w->n_processes, sizeof(*w) - offsetof(struct world, n_processes));
#undef PUT
    return XXH3_64bits(bytes, (size_t)(at - bytes)) | 1;
}

static uint64_t *place_of(uint64_t hash)
{
    uint64_t at = (hash >> 1) & (search.n_places - 1);

    while (search.seen[at] != 0 && (search.seen[at] | 1) != hash)
        at = (at + 1) & (search.n_places - 1);
    return &search.seen[at];
}

static void grow(void)
{
    uint64_t *old = search.seen, n_old = search.n_places;

    search.n_places = n_old == 0 ? 1 << 16 : 2 * n_old;
    if (search.n_places > PLACES_MAX)
        fail_msg("more states than fit into memory");
    search.seen = calloc(search.n_places, sizeof(*search.seen));
    assert_non_null(search.seen);
    for (uint64_t i = 0; i < n_old; i++) {
        if (old[i] != 0)
            *place_of(old[i] | 1) = old[i];
    }
    free(old);
}

static void copy_world(struct world *to, const struct world *from)
{
    *to = *from;
    for (int c = 0; c < to->n_calls; c++)
        to->call[c].f.link = &to->process[to->call[c].process].link;
}

/* All but faults; how many.  Checks what must hold before time goes on. */
static int list_actions(const struct world *w, struct list *l)
{
    l->n = 0;
    bool is_quiet = !add_prompt(w, l);
    add_slow(w, l);
    if (is_quiet && next_moment(w) != NEVER_MS) {
        check_moment(w);
        add(l, TIME, 0);
    }
    return l->n;
}

static void visit(void)
{
    struct world *w = &search.at[search.depth];
    struct list l = {.n = 0};
    uint64_t hash = hash_of(w), *place = place_of(hash);

    CHECK(*place != hash); /* else it is on the way to itself, and that goes on for ever */
    if (*place != 0)
        return;
    *place = hash;
    if (++search.n_seen > search.n_places / 8 * 7)
        grow();

    if (list_actions(w, &l) == 0) {
        check_end(w);
        search.n_ends++;
    }
    if (w->faults_left != 0)
        add_faults(w, &l, l.n != 0 && l.action[l.n - 1].kind == TIME);
    CHECK(search.depth + 1 < DEPTH);
    for (int i = 0; i < l.n; i++) {
        search.done[search.depth] = l.action[i];
        copy_world(&search.at[search.depth + 1], w);
        search.depth++;
        if (search.depth > search.deepest)
            search.deepest = search.depth;
        search.n_steps++;
        apply(&search.at[search.depth], &l.action[i]);
        visit();
        search.depth--;
    }
    *place_of(hash) &= ~UINT64_C(1);
}

enum { LONG = 1, COLD = 2, RESTARTS = 4 };

/* The first state.  processes: a digit for each call. */
static void set_up(const char *processes, int n_faults, unsigned how)
{
    struct world *w = &search.at[0];

    search.depth = search.deepest = 0;
    search.n_steps = search.n_ends = 0;
    setting.budget = how & LONG ? 0 : SCRIPT_INLINE_BUDGET;
    setting.with_restarts = how & RESTARTS;
    memset(w, 0, sizeof(*w));
    w->n_calls = (uint8_t)strlen(processes);
    for (int c = 0; c < w->n_calls; c++) {
        struct call *k = &w->call[c];
        k->process = (uint8_t)(processes[c] - '0');
        k->returned_ms = NEVER_MS;
        if (k->process >= w->n_processes)
            w->n_processes = (uint8_t)(k->process + 1);
    }
    for (int i = 0; i < w->n_processes; i++)
        w->process[i].link = (struct flight_link){.up = !(how & COLD), .inbox = !(how & COLD)};
    w->faults_left = (uint8_t)n_faults;
    w->faults = how & COLD ? BIT(CUT) : 0;
    w->engine.now_ms = 1000;
}

/* how: LONG values, COLD: nothing is connected yet, RESTARTS. */
static void search_all(const char *processes, int n_faults, unsigned how)
{
    free(search.seen);
    search.seen = NULL;
    search.n_seen = search.n_places = 0;
    grow();
    set_up(processes, n_faults, how);
    visit();
    print_message("calls of processes %s, %d faults%s%s%s: %llu states, %llu steps, %llu ends, "
                  "%d steps the longest way\n",
                  processes, n_faults, how & LONG ? ", long values" : "",
                  how & COLD ? ", cold" : "", how & RESTARTS ? ", restarts" : "",
                  (unsigned long long)search.n_seen, (unsigned long long)search.n_steps,
                  (unsigned long long)search.n_ends, search.deepest);
}

static uint64_t chance_state;

static unsigned chance(unsigned below)
{
    chance_state = chance_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(chance_state >> 33) % below;
}

/* One way from the first state to an end. */
static void walk(const char *processes, int n_faults, unsigned how)
{
    struct list l;

    set_up(processes, n_faults, how);
    for (;; search.depth++) {
        struct world *w = &search.at[search.depth];
        CHECK(search.depth + 1 < DEPTH); /* else it goes on for ever */
        l.n = list_actions(w, &l);
        if (l.n == 0)
            break;
        if (w->faults_left != 0 && chance(10) == 0) {
            struct list faults = {.n = 0};
            add_faults(w, &faults, false);
            l = faults.n == 0 ? l : faults;
        }
        const struct action *a = &l.action[chance((unsigned)l.n)];
        search.done[search.depth] = *a;
        copy_world(w + 1, w);
        search.n_steps++;
        apply(w + 1, a);
    }
    check_end(&search.at[search.depth]);
}

static int setup(void **state)
{
    (void)state;
    search.at = calloc(DEPTH, sizeof(*search.at));
    search.done = calloc(DEPTH, sizeof(*search.done));
    return search.at == NULL || search.done == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(search.at);
    free(search.done);
    free(search.seen);
    return 0;
}

static void test_without_faults(void **state)
{
    (void)state;
    search_all("012", 0, 0);
    search_all("012", 0, LONG);
    search_all("01", 0, COLD);
    search_all("011", 0, 0);
}

static void test_two_calls(void **state)
{
    (void)state;
    search_all("01", 1, RESTARTS);
    search_all("01", 1, LONG | COLD);
    search_all("01", 2, 0);
}

/* The third call comes after the first two have ended, among other times. */
static void test_three_calls(void **state)
{
    (void)state;
    search_all("011", 1, 0);
    if (!SANITIZED) /* there it takes minutes, and finds no more */
        search_all("012", 1, 0);
}

/* Random ways: more calls and more faults than can be searched. */
static void walk_often(unsigned n, uint64_t seed)
{
    chance_state = seed;
    for (unsigned i = 0; i < n; i++)
        walk(i % 2 == 0 ? "0112" : "0012", 1 + (int)(i % 4), i / 4 % 8);
}

static void test_random_ways(void **state)
{
    (void)state;
    walk_often(N_WALKS, 20261129);
}

/* The searches have been everywhere: all that a flight can ask for, and all outcomes. */
static void test_all_was_seen(void **state)
{
    (void)state;
    for (uint32_t bit = FLIGHT_SEND_DROP; bit <= FLIGHT_GHOST_DROPPED; bit <<= 1) {
        if (bit == FLIGHT_BAD_FRAME || bit == FLIGHT_ENDED << 1)
            continue; /* the model sends none; no bit */
        assert_true(seen.counted[__builtin_ctz(bit)] > 0);
    }
    for (int i = FLIGHT_LEAD; i <= FLIGHT_ALONE_GAVE_UP; i++)
        assert_true(seen.outcomes[i] > 0);
}

static const char *const *arguments;

static void test_one(void **state)
{
    (void)state;
    const char *how = arguments[3] == NULL ? "" : arguments[3];

    if (strcmp(arguments[1], "random") == 0) {
        walk_often((unsigned)atoi(arguments[2]), strtoull(how, NULL, 10));
        return;
    }
    search_all(arguments[1], atoi(arguments[2]),
               (strchr(how, 'G') ? LONG : 0U) | (strchr(how, 'C') ? COLD : 0U) |
                   (strchr(how, 'R') ? RESTARTS : 0U));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_faults), cmocka_unit_test(test_random_ways),
        cmocka_unit_test(test_three_calls),    cmocka_unit_test(test_two_calls),
        cmocka_unit_test(test_all_was_seen), /* what finds most faults comes first */
    };
    const struct CMUnitTest one[] = {cmocka_unit_test(test_one)};

    setenv("CMOCKA_TEST_ABORT", "1", 1); /* at the first failure: the next search takes as long */
    arguments = (const char *const *)argv;
    if (argc > 2)
        return cmocka_run_group_tests(one, setup, teardown);
    return cmocka_run_group_tests(tests, setup, teardown);
}
