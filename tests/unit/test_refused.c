/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the system may refuse, at the library's birth and later: functions of
 * the C library are replaced here by ones that fail when told to.
 */
#include "../lib/real.h"
#include "call_test.h"

#include "cpu.h"
#include "futex.h"
#include "reclaim.h"

#ifdef __GLIBC__
#include <execinfo.h>
#endif

/* ---------------------------------------------------------- what is replaced */

static bool no_key, no_atfork, no_affinity, no_attr, no_random;
static _Thread_local bool no_specific;
static char **(*symbols)(void *const *frames, int n);
static void (*on_yield)(void);

/* ThreadSanitizer calls these before it is ready. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BARE __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef BARE
#define BARE
#endif

BARE int pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    return no_key ? EAGAIN : REAL(pthread_key_create)(key, destroy);
}

BARE int pthread_setspecific(pthread_key_t key, const void *value)
{
    if (no_specific)
        errno = ENOMEM; /* of calloc(), which glibc needs for some keys */
    return no_specific ? ENOMEM : REAL(pthread_setspecific)(key, value);
}

BARE int pthread_attr_init(pthread_attr_t *attr)
{
    return no_attr ? ENOMEM : REAL(pthread_attr_init)(attr);
}

/* Not in glibc's shared library: every program has its own. */
#ifdef __GLIBC__
int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);
#else
#define __register_atfork(prepare, parent, child, of) REAL(pthread_atfork)(prepare, parent, child)
#endif
BARE int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    if (no_atfork)
        errno = ENOMEM; /* of malloc() */
    return no_atfork ? ENOMEM : __register_atfork(prepare, parent, child, NULL);
}

BARE int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    if (!no_affinity)
        return REAL(sched_getaffinity)(pid, size, set);
    errno = EINVAL;
    return -1;
}

#ifdef __GLIBC__
char **backtrace_symbols(void *const *frames, int n)
{
    return symbols != NULL ? symbols(frames, n) : REAL(backtrace_symbols)(frames, n);
}
#endif

BARE int sched_yield(void)
{
    void (*hook)(void) = on_yield;
    if (hook == NULL)
        return REAL(sched_yield)();
    hook(); /* takes as long as it takes, whatever else this machine does */
    return 0;
}

static bool no_hints;

BARE int sched_getcpu(void)
{
    if (!no_hints)
        return REAL(sched_getcpu)();
    errno = ENOSYS;
    return -1;
}

BARE int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!no_hints || clock != CLOCK_PROCESS_CPUTIME_ID)
        return REAL(clock_gettime)(clock, t);
    errno = EPERM;
    return -1;
}

BARE long syscall(long number, ...)
{
    long a[6];
    va_list ap;
    va_start(ap, number);
    for (size_t i = 0; i < LENGTH(a); i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_getrandom && no_random) {
        errno = EAGAIN;
        return -1;
    }
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ------------------------------------------------------------ at birth */

enum birth { NO_KEY, NO_ATFORK, NO_AFFINITY, NO_KEY_AND_NO_USE, N_BIRTHS };
static int birth_status[N_BIRTHS];
static int born_without = -1;

/*
 * Before the library's own constructor: a child for each refusal, which goes on
 * to main() as this process does.
 */
BARE __attribute__((constructor(101))) static void give_births(void)
{
    for (int i = 0; i < N_BIRTHS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            born_without = i;
            no_key = i == NO_KEY || i == NO_KEY_AND_NO_USE;
            no_atfork = i == NO_ATFORK;
            no_affinity = i == NO_AFFINITY;
            return;
        }
        if (pid < 0 || waitpid(pid, &birth_status[i], 0) != pid)
            birth_status[i] = -1;
    }
}

static bool usable(struct sflight_group *g)
{
    sflight_result r;
    int rc = sflight_do(g, "key", 3, return_7, NULL, &r);
    bool right = rc == 0 && r.status == 7 && r.leader;
    sflight_result_release(&r);
    return right;
}

/* In such a child; the exit status. */
static int born(void)
{
    struct sflight_group *g = (void *)&g;
    errno = 77;
    int rc = sflight_group_create(&g, NULL);
    if (born_without != NO_AFFINITY) { /* until there is */
        if (rc != -ENOMEM || errno != 77 || g != NULL || sflight_group_create(&g, NULL) != -ENOMEM)
            return 1;
        no_key = no_atfork = false;
        return sflight_group_create(&g, NULL) == 0 && usable(g) && sflight_group_destroy(g) == 0
                   ? 0
                   : 1;
    }
    /* Who cannot count the CPUs expects many. */
    return rc == 0 && cpu_count() == 1024 && g->table.shard_mask + 1 == 1024 && usable(g) &&
                   sflight_group_destroy(g) == 0
               ? 0
               : 1;
}

static void test_births(void **state)
{
    (void)state;
    for (int i = 0; i < N_BIRTHS; i++)
        assert_int_equal(birth_status[i], 0);
}

/* --------------------------------------------------------------- later */

static void *use_without_specific(void *g)
{
    no_specific = true;
    errno = 77;
    assert_true(usable(g));
    assert_int_equal(errno, 77);
    assert_ptr_equal(thread_slot(g), &((struct sflight_group *)g)->common);
    no_specific = false;
    assert_true(usable(g));
    assert_ptr_not_equal(thread_slot(g), &((struct sflight_group *)g)->common);
    return NULL;
}

struct bare {
    struct sflight_group *g;
    sem_t *leads, *other_leads;
    const char *key;
};

static int inner_of_bare(struct sflight_call *call, void *arg)
{
    (void)call;
    struct bare *b = arg;
    sflight_result r;
    assert_true(usable(b->g));
    assert_int_equal(sflight_do(b->g, b->key, 1, nothing, NULL, &r), -EDEADLK);
    no_specific = false; /* what the outer frames lead is known all the same */
    assert_int_equal(sflight_do(b->g, b->key, 1, nothing, NULL, &r), -EDEADLK);
    assert_int_equal(sflight_group_drain(b->g, NULL), -EDEADLK);
    no_specific = true;
    sem_post(b->leads);
    sem_take(b->other_leads);
    return 3;
}

/* Two such threads that lead at once are two callers. */
static void *lead_without_specific(void *arg)
{
    struct bare *b = arg;
    sflight_result r;
    no_specific = true;
    assert_int_equal(sflight_do(b->g, b->key, 1, inner_of_bare, b, &r), 0);
    assert_int_equal(r.status, 3);
    sflight_result_release(&r);
    no_specific = false;
    return NULL;
}

static int exit_from_bare(struct sflight_call *call, void *arg)
{
    struct bare *b = arg;
    (void)call;
    sem_post(b->leads);
    sem_take(b->other_leads);
    no_specific = false; /* a sanitizer wants some at the end */
    pthread_exit(b);
}

static void *exit_without_specific(void *arg)
{
    struct bare *b = arg;
    sflight_result r;
    no_specific = true;
    sflight_do(b->g, b->key, 1, exit_from_bare, b, &r);
    return NULL;
}

static void *follow_bare(void *arg)
{
    const struct bare *b = arg;
    sflight_result r;
    assert_int_equal(sflight_do(b->g, b->key, 1, nothing, NULL, &r), -EOWNERDEAD);
    return NULL;
}

/* Such a thread ends as any other, and nobody looks at its stack any more: a child would. */
static void test_a_leader_without_thread_specific_data_exits(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sem_t leads, may_exit;
    sem_init(&leads, 0, 0);
    sem_init(&may_exit, 0, 0);
    struct bare b = {g, &leads, &may_exit, "a"};
    for (int i = 0; i < 3; i++) {
        pthread_t leader = thread_start(exit_without_specific, &b);
        sem_take(&leads);
        pthread_t follower = thread_start(follow_bare, &b);
        WAIT_UNTIL(stats_of(g).waiting == 1);
        sem_post(&may_exit);
        assert_ptr_equal(thread_join(leader), &b);
        thread_join(follower);
    }
    pid_t pid = fork_child();
    if (pid == 0)
        _exit(usable(g) ? 0 : 1);
    assert_child_succeeds(pid);
    assert_true(usable(g));
    group_end(g);
}

static void add_one(void *n, int rc, sflight_result *r)
{
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    ++*(int *)n;
}

/* Its callbacks are run, too, and its completions counted. */
static void *tell_without_specific(void *group)
{
    struct sflight_group *g = group;
    sflight_call *call, *none;
    sflight_future *f[3];
    sflight_queue *q;
    sflight_completion done;
    int n_told = 0;
    no_specific = true;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &call, &f[0]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sflight_begin(g, "key", 3, &none, &f[i]), 0);
    assert_int_equal(sflight_future_then(f[0], add_one, &n_told), 0);
    assert_int_equal(sflight_future_then(f[1], add_one, &n_told), 0);
    assert_int_equal(sflight_future_enqueue(f[2], q, 0), 0);
    sflight_complete(call, 0);
    assert_int_equal(n_told, 2);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_result_release(&done.result);
    assert_int_equal(sflight_queue_destroy(q), 0);
    no_specific = false;
    return NULL;
}

static void test_no_thread_specific_data(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    thread_join(thread_start(use_without_specific, g));
    thread_join(thread_start(tell_without_specific, g));
    sem_t leads[2];
    sem_init(&leads[0], 0, 0);
    sem_init(&leads[1], 0, 0);
    struct bare b[2] = {{g, &leads[0], &leads[1], "a"}, {g, &leads[1], &leads[0], "b"}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        threads[i] = thread_start(lead_without_specific, &b[i]);
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    group_end(g);
}

static void test_no_attributes_for_a_thread(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_future *f;
    no_attr = true;
    assert_int_equal(sflight_start(g, "key", 3, return_7, NULL, &f), -ENOMEM);
    no_attr = false;
    assert_null(f);
    assert_true(usable(g));
    group_end(g);
}

static void test_no_random_numbers(void **state)
{
    (void)state;
    no_random = true;
    struct sflight_group *g = group_new(NULL);
    no_random = false;
    assert_true(usable(g));
    group_end(g);
}

/* Random numbers or none: who knows one group's seed does not know another's. */
static void test_each_group_has_a_seed_of_its_own(void **state)
{
    (void)state;
    struct sflight_group *g[4];
    for (size_t i = 0; i < LENGTH(g); i++) {
        no_random = i < 2;
        g[i] = group_new(NULL);
        no_random = false;
        for (size_t j = 0; j < i; j++)
            assert_true(g[i]->seed != g[j]->seed);
    }
    assert_true(hash_key("key", 3, g[2]->seed) != hash_key("key", 3, g[3]->seed));
    for (size_t i = 0; i < LENGTH(g); i++)
        group_end(g[i]);
}

static void *no_memory(void *ctx, size_t size, size_t align)
{
    (void)ctx, (void)size, (void)align;
    return NULL;
}

static void test_no_memory_for_a_queue(void **state)
{
    (void)state;
    sflight_queue *q = (void *)&q;
    void *(*before)(void *, size_t, size_t) = alloc_process.alloc;
    alloc_process.alloc = no_memory;
    assert_int_equal(sflight_queue_create(&q), -ENOMEM);
    alloc_process.alloc = before;
    assert_null(q);
}

/* A thread without a struct is bare until there is memory. */
static void *use_without_a_struct(void *group)
{
    struct sflight_group *g = group;
    void *(*before)(void *, size_t, size_t) = alloc_process.alloc;
    alloc_process.alloc = no_memory;
    for (int i = 0; i < 3; i++)
        assert_true(usable(g));
    assert_true(thread_self.bare);
    assert_ptr_equal(thread_slot(g), &g->common);
    alloc_process.alloc = before;
    assert_true(usable(g));
    assert_false(thread_self.bare);
    assert_ptr_not_equal(thread_slot(g), &g->common);
    return NULL;
}

static void test_no_memory_for_a_thread(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    thread_join(thread_start(use_without_a_struct, g));
    group_end(g);
}

/* The table of places may become full but for one; who then finds none uses the common slot. */
enum { CROWD = 2 * THREAD_PLACES };

static void *use_without_more_places(void *groups)
{
    struct sflight_group **g = groups;
    void *(*before)(void *, size_t, size_t) = alloc_process.alloc;
    assert_true(usable(g[0]));
    alloc_process.alloc = no_memory;
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < CROWD; i++) {
            assert_true(usable(g[i]));
            assert_int_equal(thread_slot(g[i]) == &g[i]->common, i >= THREAD_PLACES - 1);
        }
    alloc_process.alloc = before;
    for (size_t i = 0; i < CROWD; i++) {
        assert_true(usable(g[i]));
        assert_ptr_not_equal(thread_slot(g[i]), &g[i]->common);
    }
    return NULL;
}

static void test_no_memory_for_more_places(void **state)
{
    (void)state;
    struct sflight_group *g[CROWD];
    sflight_options o = small_options();
    for (size_t i = 0; i < CROWD; i++)
        g[i] = group_new(&o);
    thread_join(thread_start(use_without_more_places, g));
    for (size_t i = 0; i < CROWD; i++)
        group_end(g[i]);
}

/* As by a signal's handler, on top of an operation: who exits does not wait for it. */
static void test_exit_with_the_registry_locked(void **state)
{
    (void)state;
    pid_t pid = fork_child();
    if (pid == 0) {
        registry_lock();
        exit(0);
    }
    assert_child_succeeds(pid);
}

/* Sizes that no sum must wrap around. */
static void test_sizes_that_wrap_around(void **state)
{
    (void)state;
    assert_null(alloc_get(&alloc_process, SIZE_MAX, CACHE_LINE));
    assert_null(alloc_get(&alloc_process, SIZE_MAX - CACHE_LINE + 1, CACHE_LINE));
    struct sflight_group *g = group_new(NULL);
    struct sflight_call *c = call_record_new(&g->common);
    assert_non_null(c);
    assert_false(call_key_long(c, "key", SIZE_MAX));
    assert_false(call_key_long(c, "key", SIZE_MAX - sizeof(size_t)));
    call_discard_slow(thread_slot(g), c);
    group_end(g);
}

static void test_as_many_wakes_as_can_be(void **state)
{
    (void)state;
    uint32_t word = 0;
    errno = 77;
    futex_wake(&word, UINT32_MAX);
    assert_int_equal(errno, 77);
}

/* --------------------------------------------------------- all lanes borrowed */

static struct lane *lanes[1024];
static size_t n_lanes;

/* One thread plays several here: what a build for tests notes of a thread's section is not so. */
static struct lane *enter_one(unsigned hint)
{
    REQUIRE_SECTION_ENDS();
    return reclaim_enter(reclaim_lane(hint));
}

static void leave_one(void)
{
    if (n_lanes == 0)
        return;
    REQUIRE_SECTION_BEGINS();
    reclaim_leave(lanes[--n_lanes]);
}

/* Sections without end, until somebody has to wait for a lane. */
static void test_every_lane_is_borrowed(void **state)
{
    (void)state;
    atomic_uint yielded = 0;
    on_yield = leave_one; /* called by this thread, inside reclaim_enter() */
    for (n_lanes = 0; n_lanes < LENGTH(lanes); n_lanes++) {
        size_t before = n_lanes;
        lanes[before] = enter_one(3);
        if (n_lanes != before) { /* one has been left meanwhile: there were no more */
            yielded = 1;
            REQUIRE_SECTION_BEGINS();
            reclaim_leave(lanes[before]);
            break;
        }
    }
    on_yield = NULL;
    assert_int_equal(yielded, 1);
    for (size_t i = 0; i < n_lanes; i++)
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(lanes[i], lanes[j]);
    while (n_lanes != 0)
        leave_one();
}

/* --------------------------------------------------- turns that others have had */

static gate opens;
static bool is_opened;
static unsigned turns;

static struct rivals rivals;

/* Others have the CPU, and this process none: for longer than what a wake costs, many times. */
static void others_turn(void)
{
    turns++;
    cpu_sleep(3000000);
    if (is_opened)
        gate_open(&opens, 0, 1, &rivals);
}

/* Giving the CPU up costs slices of other processes: it is done a few times, and then hardly ever.
 */
static void test_yields_that_cost_slices(void **state)
{
    (void)state;
    enum { WAITS = 3000 };
    struct spinner s;

    on_yield = others_turn;
    for (int pays = 0; pays < 2; pays++) { /* also if the gate is open afterwards */
        is_opened = pays;
        turns = 0;
        rivals = (struct rivals){0};
        spinner_init(&s, UINT64_MAX, &rivals);
        s.crowded = true;
        for (int i = 0; i < WAITS; i++) {
            opens = 0;
            (void)gate_spin(&opens, cpu_count(), &s, NULL);
        }
        assert_in_range(turns, 2, 12);
    }
    on_yield = NULL;
}

static void refuse_yield(void)
{
    errno = EPERM;
}

/* What only hints at how long to wait, or whom to wake. */
static void test_hints_are_refused(void **state)
{
    (void)state;
    uint32_t word = 0;

    on_yield = refuse_yield;
    no_hints = true;
    errno = 5;
    cpu_yield();
    assert_int_equal(errno, 5);
    assert_int_equal(futex_wake_elsewhere(&word, 1), 0);
    assert_int_equal(errno, 5);
    assert_int_equal(clock_process_ns(), 0);
    assert_int_equal(errno, 5);
    no_hints = false;
    on_yield = NULL;
}

static unsigned n_yields;

static void count_yield(void)
{
    n_yields++;
}

/* A probe that gets the CPU back soon says so: all give it up again. */
static void test_rivals_that_have_gone(void **state)
{
    (void)state;
    struct spinner s;

    on_yield = count_yield;
    n_yields = 0;
    opens = 0;
    rivals = (struct rivals){.read_ns = UINT64_MAX / 2, .until_ns = UINT64_MAX};
    spinner_init(&s, UINT64_MAX, &rivals);
    s.crowded = true;
    (void)gate_spin(&opens, cpu_count(), &s, NULL);
    assert_int_equal(n_yields, 0);
    rivals.until_ns = 1;
    /* More than once, if others want the CPU just then. */
    for (int i = 0; i < 1000 && rivals_there(&rivals); i++) {
        rivals.until_ns = 1;
        (void)gate_spin(&opens, cpu_count(), &s, NULL);
    }
    assert_true(n_yields != 0);
    assert_false(rivals_there(&rivals));
    on_yield = NULL;
}

/* Who waits for another thread gives the CPU up for good after some turns: to threads of less
 * priority, too. */
static void test_waits_do_not_yield_for_ever(void **state)
{
    (void)state;
    unsigned n = 0;
    n_yields = 0;
    errno = 77;
    on_yield = count_yield;
    for (int i = 0; i < 100; i++)
        cpu_back_off(&n);
    on_yield = NULL;
    assert_int_equal(n, 100);
    assert_in_range(n_yields, 1, 50);
    assert_int_equal(errno, 77);
}

/* ------------------------------------------------------------------ panics */

static char **no_names(void *const *frames, int n)
{
    (void)frames, (void)n;
    return NULL;
}

/* Each name fills half of the text. */
static char **long_names(void *const *frames, int n)
{
    enum { LONG = 4096 };
    (void)frames;
    char **names = malloc((size_t)n * sizeof(char *) + LONG);
    assert_non_null(names);
    char *name = (char *)(names + n);
    memset(name, 'x', LONG - 1);
    name[LONG - 1] = 0;
    for (int i = 0; i < n; i++)
        names[i] = name;
    return names;
}

static char message[3000];

static int panic_at_length(struct sflight_call *call, void *arg)
{
    (void)arg;
    sflight_panic(call, "%s", message);
}

/* L"\x110000" is no character in any locale. */
static int panic_unspeakably(struct sflight_call *call, void *arg)
{
    static const wchar_t no_character[] = {0x110000, 0};
    (void)arg;
    sflight_panic(call, "%ls", no_character);
}

static void test_panics_with_odd_texts(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_result r;
    memset(message, 'm', sizeof(message) - 1);
    for (int names = 0; names < 3; names++) {
        symbols = names == 0 ? NULL : names == 1 ? no_names : long_names;
        for (int text = 0; text < 2; text++) {
            sflight_fn *fn = text == 0 ? panic_at_length : panic_unspeakably;
            assert_int_equal(sflight_do(g, "key", 3, fn, NULL, &r), -ENOTRECOVERABLE);
            assert_int_equal(strlen(r.value), r.size);
            assert_int_equal(strspn(r.value, "m"), text == 0 ? 1023 : 0);
            assert_int_equal(strstr(r.value, "\n  at ") != NULL, GLIBC);
            assert_int_equal(((char *)r.value)[r.size - 1], '\n');
            sflight_result_release(&r);
        }
    }
    symbols = NULL;
    void *(*before)(void *, size_t, size_t) = alloc_process.alloc;
    alloc_process.alloc = no_memory;
    assert_int_equal(sflight_do(g, "key", 3, panic_at_length, NULL, &r), -ENOTRECOVERABLE);
    alloc_process.alloc = before;
    assert_non_null(strstr(r.value, "no memory"));
    assert_int_equal(strlen(r.value), r.size);
    sflight_result_release(&r);
    group_end(g);
}

/* A permit has no fn to leave. */
/* A program compiled for AddressSanitizer, with a library that is not, hears that frames go. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN
#endif

#ifndef HAS_ASAN /* which has the function itself */
static unsigned n_no_return;

void __asan_handle_no_return(void); /* NOLINT(bugprone-reserved-identifier): not the library's */
void __asan_handle_no_return(void)
{
    n_no_return++;
}

static int panic_briefly(struct sflight_call *call, void *arg)
{
    (void)arg;
    sflight_panic(call, "brief");
}

static void test_panics_tell_address_sanitizer(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_result r;
    n_no_return = 0;
    assert_int_equal(sflight_do(g, "key", 3, panic_briefly, NULL, &r), -ENOTRECOVERABLE);
    sflight_result_release(&r);
    assert_int_equal(n_no_return, 1);
    group_end(g);
}
#endif

static void panic_outside_of_fn(void)
{
    struct sflight_call *call;
    sflight_future *f;
    sflight_begin(group_new(NULL), "key", 3, &call, &f);
    sflight_panic(call, "panic outside of fn");
}

/*
 * without_tables(call) calls panics(call) from a frame of which the unwinder
 * knows nothing.
 */
int without_tables(struct sflight_call *call, void *arg);
__attribute__((used)) void panics(struct sflight_call *call);
void panics(struct sflight_call *call)
{
    invoke_unwind((struct invocation *)atomic_load_relaxed(&call->inside));
}
#if defined(__x86_64__)
__asm__(".text\n"
        "without_tables:\n"
        "sub $8, %rsp\n"
        "call panics\n"
        "hlt\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        "without_tables:\n"
        "stp x29, x30, [sp, #-16]!\n"
        "bl panics\n"
        "brk #0\n");
#endif

static void panic_without_unwind_tables(void)
{
    sflight_result r;
    sflight_do(group_new(NULL), "key", 3, without_tables, NULL, &r);
}

static void test_panics_that_abort(void **state)
{
    (void)state;
    assert_aborts(panic_outside_of_fn, "panic outside of fn");
#ifndef SANITIZE_THREAD /* whose frames all have cleanups, for which libgcc aborts without a word  \
                         */
    assert_aborts(panic_without_unwind_tables, "cannot unwind");
#else
    (void)panic_without_unwind_tables;
#endif
}

int main(void)
{
    if (born_without == NO_KEY_AND_NO_USE)
        return 0; /* nothing is given back in the end */
    if (born_without >= 0)
        _exit(born());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_births),
        cmocka_unit_test(test_no_thread_specific_data),
        cmocka_unit_test(test_a_leader_without_thread_specific_data_exits),
        cmocka_unit_test(test_no_attributes_for_a_thread),
        cmocka_unit_test(test_no_random_numbers),
        cmocka_unit_test(test_each_group_has_a_seed_of_its_own),
        cmocka_unit_test(test_no_memory_for_a_queue),
        cmocka_unit_test(test_no_memory_for_a_thread),
        cmocka_unit_test(test_no_memory_for_more_places),
        cmocka_unit_test(test_exit_with_the_registry_locked),
        cmocka_unit_test(test_sizes_that_wrap_around),
        cmocka_unit_test(test_as_many_wakes_as_can_be),
        cmocka_unit_test(test_every_lane_is_borrowed),
        cmocka_unit_test(test_hints_are_refused),
        cmocka_unit_test(test_yields_that_cost_slices),
        cmocka_unit_test(test_rivals_that_have_gone),
        cmocka_unit_test(test_waits_do_not_yield_for_ever),
        cmocka_unit_test(test_panics_with_odd_texts),
#ifndef HAS_ASAN
        cmocka_unit_test(test_panics_tell_address_sanitizer),
#endif
        cmocka_unit_test(test_panics_that_abort),
    };
    return RUN_TESTS(tests);
}
