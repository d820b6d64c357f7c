/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Coroutines: makecontext() gives each a stack, _setjmp() and _longjmp() switch
 * between them, which unlike swapcontext() costs no system call.  A coroutine
 * that has ended waits in its loop for the next run's thread.
 *
 * PCT: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with
 * probabilistic guarantees of finding bugs", 2010.  Preemption bounding:
 * Musuvathi, Qadeer, "Iterative context bounding", 2007.
 */
#include "sched.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

enum {
    STACK_BYTES = 256 << 10,
    MAX_STEPS = 200000, /* a run that takes more is going round in a circle */
    STALL_STEPS = 3000, /* the same of those that wait for a stalled thread */
    MAX_CHANGES = 4,    /* of priorities in a run */
    MAX_CHOICES = 1 << 16,
    TRACE = 64, /* steps shown when a run fails */
};

struct thread_of_run {
    enum { FREE, READY, ASLEEP, STALLED, ENDED } state;
    enum woken woken;
    const void *key;
    uint64_t until_ns;
    uint64_t asleep_since; /* a ticket: first come, first served */
    bool spurious;
    int priority;
    void (*body)(void *);
    void *arg;
    const char *site, *function;
    /* the coroutine */
    bool made;
    const char *top; /* of its stack, when it does not run: what lies below is gone */
    jmp_buf at;      /* where it goes on */
    jmp_buf exit_to;
    const char *exit_frame;
    struct _Unwind_Exception exit_exception;
};

struct sched sched;
const char *sched_function;
void (*sched_thread_begins)(int thread);
void (*sched_thread_ends)(int thread);
void (*sched_thread_joined)(int thread);
void (*sched_thread_runs)(int thread);
void (*sched_thread_stalls)(int thread, bool awaited);
void (*sched_failed)(void);

static struct {
    struct thread_of_run threads[MAX_THREADS];
    int n_threads;
    uint32_t ready;    /* a bit for each thread, as the next two */
    uint32_t timed;    /* asleep, and wakes by time */
    uint32_t startled; /* asleep, and may wake for no reason */
    uint64_t tickets;
    uint64_t random;
    jmp_buf driver;
    char *stacks; /* of all */
    bool forked;
    int settler; /* who waits for all others to sleep; or -1 */
    struct {
        int thread; /* -1: none */
        unsigned left;
        bool begun, over, awaited;
        uint64_t n_steps; /* when it began */
    } stall;
    /* BY_RANDOM */
    uint64_t stay_mask;
    /* BY_PRIORITY */
    uint64_t change_at[MAX_CHANGES];
    int lowest;
    /* BY_BYTES */
    size_t byte;
    unsigned until_switch;
    /* BY_EXHAUSTION */
    struct {
        uint8_t n, chosen;
    } choices[MAX_CHOICES];
    unsigned n_choices, choice;
    unsigned preempted;
} s = {.settler = -1, .stall.thread = -1};

static struct {
    int thread;
    const char *site, *what;
    const volatile void *address;
    uint64_t value;
} trace[TRACE];
static uint64_t n_traced;

/* ----------------------------------------------------------------- decisions */

/* splitmix64 (Vigna, public domain). */
static uint64_t random_next(void)
{
    uint64_t z = (s.random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned exhaust(unsigned n)
{
    if (n <= 1)
        return 0;
    if (s.choice == s.n_choices) {
        if (s.n_choices == MAX_CHOICES)
            explore_fail("more than %d choices", MAX_CHOICES);
        s.choices[s.n_choices].n = (uint8_t)n;
        s.choices[s.n_choices].chosen = 0;
        s.n_choices++;
    }
    if (s.choices[s.choice].n != n) {
        if (s.choices[s.choice].n != 0)
            explore_fail("this run is not the same as the last one: something is not drawn here");
        s.choices[s.choice].n = (uint8_t)n; /* set by sched_set_choices() */
    }
    return s.choices[s.choice++].chosen;
}

bool sched_next(void)
{
    while (s.n_choices != 0) {
        if (++s.choices[s.n_choices - 1].chosen < s.choices[s.n_choices - 1].n)
            return true;
        s.n_choices--;
    }
    return false;
}

void sched_forget_choices(void)
{
    s.n_choices = 0;
}

void sched_print_choices(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < s.n_choices && used < size; i++)
        if (s.choices[i].chosen != 0)
            used += (size_t)snprintf(text + used, size - used, "%s%u:%u", used != 0 ? "," : "", i,
                                     s.choices[i].chosen);
}

bool sched_set_choices(const char *text)
{
    memset(s.choices, 0, sizeof(s.choices));
    s.n_choices = 0;
    while (*text != '\0') {
        unsigned i, chosen;
        int used;
        if (sscanf(text, "%u:%u%n", &i, &chosen, &used) != 2 || i >= MAX_CHOICES)
            return false;
        s.choices[i].chosen = (uint8_t)chosen;
        s.n_choices = i + 1;
        text += used;
        text += *text == ',';
    }
    return true;
}

static unsigned next_byte(void)
{
    return s.byte < sched.plan.n_bytes ? sched.plan.bytes[s.byte++] : 0;
}

unsigned sched_choose(unsigned n)
{
    if (n <= 1)
        return 0;
    switch (sched.plan.strategy) {
    case BY_EXHAUSTION:
        return exhaust(n);
    case BY_BYTES:
        if (s.byte < sched.plan.n_bytes)
            return next_byte() % n;
        return 0;
    default:
        return (unsigned)(random_next() % n);
    }
}

bool sched_mishap(unsigned once_in)
{
    /* Not of the bytes: they are for what happens often. */
    return !sched.plan.calm && sched.plan.strategy != BY_EXHAUSTION && random_next() % once_in == 0;
}

/* ------------------------------------------------------------------- threads */

static uint32_t bit(int thread)
{
    return UINT32_C(1) << thread;
}

static int lowest_bit(uint32_t mask)
{
    return __builtin_ctz(mask);
}

static int nth_bit(uint32_t mask, unsigned n)
{
    while (n-- != 0)
        mask &= mask - 1;
    return lowest_bit(mask);
}

static unsigned n_bits(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

static void wake_thread(int thread, enum woken why)
{
    struct thread_of_run *t = &s.threads[thread];
    t->state = READY;
    t->woken = why;
    s.ready |= bit(thread);
    s.timed &= ~bit(thread);
    s.startled &= ~bit(thread);
    if (why == WOKEN_BY_TIME && sched.now_ns < t->until_ns)
        sched.now_ns = t->until_ns;
}

/* A thread that is asleep is to go on: by its time if it has one. */
static void rouse(int thread)
{
    if (s.ready & bit(thread))
        return;
    wake_thread(thread, s.timed & bit(thread) ? WOKEN_BY_TIME : WOKEN_BY_NOBODY);
}

/* Nobody can go on, but time can. */
static uint32_t next_by_time(void)
{
    uint32_t first = 0;
    uint64_t until = NEVER;
    for (uint32_t m = s.timed; m != 0; m &= m - 1) {
        int i = lowest_bit(m);
        if (s.threads[i].until_ns < until) {
            until = s.threads[i].until_ns;
            first = 0;
        }
        if (s.threads[i].until_ns == until)
            first |= bit(i);
    }
    return first;
}

static int by_random(uint32_t ready, bool self_ready, bool yields)
{
    uint64_t r = random_next();
    if (self_ready && !yields && (r & s.stay_mask) != 0)
        return sched.self;
    uint32_t pool = ready;
    r >>= 32;
    if (s.timed != 0 && (r & 7) == 0)
        pool |= s.timed;
    if (s.startled != 0 && !sched.plan.calm && (r & (63 << 3)) == 0)
        pool |= s.startled;
    if (yields && (pool & ~bit(sched.self)) != 0)
        pool &= ~bit(sched.self);
    return nth_bit(pool, (unsigned)(random_next() % n_bits(pool)));
}

static int by_priority(uint32_t ready, bool self_ready, bool yields)
{
    if (self_ready) {
        bool change = yields;
        for (int i = 0; i < MAX_CHANGES; i++)
            change = change || sched.n_steps == s.change_at[i];
        if (change)
            s.threads[sched.self].priority = --s.lowest;
    }
    uint32_t sleepers = s.timed | (sched.plan.calm ? 0 : s.startled);
    if (sleepers != 0 && random_next() % 64 == 0)
        return nth_bit(sleepers, (unsigned)(random_next() % n_bits(sleepers)));
    int best = -1;
    for (uint32_t m = ready; m != 0; m &= m - 1) {
        int i = lowest_bit(m);
        if (best < 0 || s.threads[i].priority > s.threads[best].priority)
            best = i;
    }
    return best;
}

static int by_exhaustion(uint32_t ready, bool self_ready, bool yields)
{
    int options[2 * MAX_THREADS] = {0}, n = 0;
    bool may_preempt = s.preempted < sched.plan.preemptions;

    if (self_ready && !yields)
        options[n++] = sched.self;
    if (!self_ready || yields || may_preempt)
        for (int k = 1; k <= MAX_THREADS; k++) {
            int i = (sched.self + k) % MAX_THREADS;
            if ((ready & bit(i)) && (i != sched.self || (yields && n == 0)))
                options[n++] = i;
        }
    if (may_preempt || n == 0)
        for (uint32_t m = s.timed; m != 0; m &= m - 1)
            options[n++] = lowest_bit(m);
    int chosen = options[exhaust((unsigned)n)];
    if ((self_ready && !yields && chosen != sched.self) || (ready != 0 && !(ready & bit(chosen))))
        s.preempted++;
    return chosen;
}

static int by_bytes(uint32_t ready, bool self_ready, bool yields)
{
    if (self_ready && !yields && s.byte >= sched.plan.n_bytes)
        return sched.self;
    if (self_ready && !yields && s.until_switch != 0) {
        s.until_switch--;
        return sched.self;
    }
    unsigned b = next_byte();
    s.until_switch = b >> 3;
    uint32_t pool = ready;
    if ((b & 7) == 7)
        pool |= s.timed;
    if ((b & 7) == 6)
        pool |= s.startled;
    if (yields && (pool & ~bit(sched.self)) != 0)
        pool &= ~bit(sched.self);
    /* With the bytes used up: round and round. */
    if (s.byte >= sched.plan.n_bytes) {
        uint32_t after = pool & ~((bit(sched.self) << 1) - 1);
        return lowest_bit(after != 0 ? after : pool);
    }
    return nth_bit(pool, b % n_bits(pool));
}

/* The others wait for the stalled thread: it goes on. */
static int stall_ends(void)
{
    s.stall.awaited = true;
    sched_thread_stalls(s.stall.thread, true);
    sched_unstall();
    return s.stall.thread;
}

static void all_blocked(void)
{
    explore_fail("deadlock: every thread is asleep");
}

static int pick(bool self_ready, bool yields)
{
    uint32_t ready = s.ready;
    if (ready == 0) {
        if (s.settler >= 0)
            return s.settler;
        if (s.timed == 0 && s.stall.begun && !s.stall.over)
            return stall_ends();
        if (s.timed == 0)
            all_blocked();
        uint32_t next = next_by_time();
        if (n_bits(next) == 1)
            return lowest_bit(next);
        if (sched.plan.strategy != BY_EXHAUSTION)
            return nth_bit(next, sched_choose(n_bits(next)));
    }
    switch (sched.plan.strategy) {
    case BY_RANDOM:
        return ready != 0 ? by_random(ready, self_ready, yields) : lowest_bit(next_by_time());
    case BY_PRIORITY:
        return by_priority(ready, self_ready, yields);
    case BY_EXHAUSTION:
        return by_exhaustion(ready, self_ready, yields);
    default:
        return by_bytes(ready, self_ready, yields);
    }
}

__attribute__((noinline)) static void switch_to(int thread)
{
    s.threads[sched.self].top = __builtin_frame_address(0);
    if (_setjmp(s.threads[sched.self].at) != 0)
        return;
    sched.self = thread;
    sched_thread_runs(thread);
    _longjmp(s.threads[thread].at, 1);
}

static void go_on(bool self_ready, bool yields)
{
    int next = pick(self_ready, yields);
    rouse(next);
    if (next == s.settler)
        s.settler = -1;
    if (next != sched.self)
        switch_to(next);
}

static void note_place(const char *site)
{
    struct thread_of_run *t = &s.threads[sched.self];
    t->site = site;
    if (sched_function != NULL)
        t->function = sched_function;
    sched_function = NULL;
}

static void count_step(const char *site)
{
    note_place(site);
    if (++sched.n_steps > MAX_STEPS)
        explore_fail("no end after %d steps", MAX_STEPS);
    if (s.stall.begun && !s.stall.over && sched.n_steps - s.stall.n_steps > STALL_STEPS)
        (void)stall_ends();
}

void sched_stall_point(const char *site)
{
    if (sched.self != s.stall.thread || s.stall.begun || s.stall.left-- != 0)
        return;
    note_place(site);
    sched_thread_stalls(sched.self, false);
    s.stall.begun = true;
    s.stall.n_steps = sched.n_steps;
    s.threads[sched.self].state = STALLED;
    s.ready &= ~bit(sched.self);
    sched_note(site, "stalls", NULL, 0);
    go_on(false, false);
}

void sched_stall(unsigned after)
{
    CHECK(s.stall.thread < 0);
    s.stall.thread = sched.self;
    s.stall.left = after;
}

void sched_stall_not(void)
{
    if (!s.stall.begun)
        s.stall.thread = -1;
}

bool sched_stalled(void)
{
    return s.stall.begun;
}

bool sched_awaited(void)
{
    return s.stall.awaited;
}

void sched_unstall(void)
{
    if (!s.stall.begun || s.stall.over)
        return;
    s.stall.over = true;
    s.threads[s.stall.thread].state = READY;
    s.ready |= bit(s.stall.thread);
}

const char *sched_function_of(int thread)
{
    return s.threads[thread].function != NULL ? s.threads[thread].function : "its beginning";
}

void sched_settle(void)
{
    CHECK(s.settler < 0);
    s.settler = sched.self;
    (void)sched_sleep(&s.settler, NEVER, false, SITE);
}

void sched_point(const char *site)
{
    sched_stall_point(site);
    count_step(site);
    if ((s.ready & (s.ready - 1)) == 0 && (s.timed | s.startled) == 0)
        return; /* alone */
    go_on(true, false);
}

void sched_yield_point(const char *site)
{
    sched_stall_point(site);
    count_step(site);
    go_on(true, true);
}

enum woken sched_sleep(const void *key, uint64_t until_ns, bool spurious, const char *site)
{
    struct thread_of_run *t = &s.threads[sched.self];
    count_step(site);
    t->state = ASLEEP;
    t->key = key;
    t->until_ns = until_ns;
    t->spurious = spurious;
    t->asleep_since = ++s.tickets;
    s.ready &= ~bit(sched.self);
    if (until_ns != NEVER)
        s.timed |= bit(sched.self);
    if (spurious)
        s.startled |= bit(sched.self);
    sched_note(site, "sleep", key, 0);
    go_on(false, false);
    sched_stall_point(site); /* has been woken, and does not come to itself */
    return t->woken;
}

unsigned sched_wake_of(const void *key, unsigned n, uint64_t threads)
{
    for (unsigned n_woken = 0; n_woken < n; n_woken++) {
        int first = -1;
        for (int i = 0; i < s.n_threads; i++)
            if (s.threads[i].state == ASLEEP && s.threads[i].key == key && (threads >> i & 1) &&
                (first < 0 || s.threads[i].asleep_since < s.threads[first].asleep_since))
                first = i;
        if (first < 0)
            return n_woken;
        wake_thread(first, WOKEN);
    }
    return n;
}

unsigned sched_wake(const void *key, unsigned n)
{
    return sched_wake_of(key, n, UINT64_MAX);
}

/* ---------------------------------------------------------------- coroutines */

static void run_body(struct thread_of_run *t)
{
    t->exit_frame = __builtin_frame_address(0);
    if (_setjmp(t->exit_to) == 0)
        t->body(t->arg);
}

/* Coroutine i is thread i of every run; each jump to it at rest begins a thread. */
static void coroutine(void)
{
    struct thread_of_run *t = &s.threads[sched.self];

    if (_setjmp(t->at) == 0)
        _longjmp(s.driver, 1); /* made, and at rest */
    for (;;) {
        run_body(t);
        sched_thread_ends(sched.self);
        t->state = ENDED;
        s.ready &= ~bit(sched.self);
        (void)sched_wake(t, MAX_THREADS);
        if (_setjmp(t->at) != 0)
            continue;
        if (sched.self == 0)
            _longjmp(s.driver, 1); /* the end of the run */
        int next = pick(false, false);
        rouse(next);
        if (next == s.settler)
            s.settler = -1;
        sched.self = next;
        sched_thread_runs(next);
        _longjmp(s.threads[next].at, 1);
    }
}

static void make_coroutine(int thread)
{
    struct thread_of_run *t = &s.threads[thread];
    ucontext_t here, first;
    jmp_buf saved;
    int self = sched.self;

    if (s.stacks == NULL) {
        s.stacks = mmap(NULL, STACK_BYTES * MAX_THREADS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s.stacks == MAP_FAILED)
            abort();
        for (int i = 0; i < MAX_THREADS; i++) /* an overflow is seen */
            (void)mprotect(s.stacks + (ptrdiff_t)i * STACK_BYTES, 4096, PROT_NONE);
    }
    (void)getcontext(&first);
    first.uc_stack.ss_sp = s.stacks + (ptrdiff_t)thread * STACK_BYTES;
    first.uc_stack.ss_size = STACK_BYTES;
    first.uc_link = NULL;
    makecontext(&first, coroutine, 0);
    memcpy(&saved, &s.driver, sizeof(saved));
    sched.self = thread;
    if (_setjmp(s.driver) == 0)
        (void)swapcontext(&here, &first);
    sched.self = self;
    memcpy(&s.driver, &saved, sizeof(saved));
    t->made = true;
}

int sched_spawn(void (*body)(void *arg), void *arg)
{
    if (s.n_threads == MAX_THREADS)
        return -1;
    int thread = s.n_threads++;
    struct thread_of_run *t = &s.threads[thread];
    if (!t->made)
        make_coroutine(thread);
    t->body = body;
    t->arg = arg;
    t->state = READY;
    t->top = NULL;
    t->site = "its beginning";
    t->function = NULL;
    t->priority = (int)(random_next() >> 40);
    s.ready |= bit(thread);
    sched_thread_begins(thread);
    return thread;
}

bool sched_ended(int thread)
{
    return s.threads[thread].state == ENDED;
}

void sched_join(int thread)
{
    while (!sched_ended(thread))
        (void)sched_sleep(&s.threads[thread], NEVER, false, "join");
    sched_thread_joined(thread);
}

bool sched_stack_gone(const volatile void *p)
{
    uintptr_t offset = (uintptr_t)p - (uintptr_t)s.stacks;
    if (s.stacks == NULL || offset >= (uintptr_t)STACK_BYTES * MAX_THREADS || s.forked)
        return false;
    int i = (int)(offset / STACK_BYTES);
    if (i == sched.self || i >= s.n_threads)
        return false;
    sched_point(SITE);
    return s.threads[i].state == ENDED ||
           (s.threads[i].top != NULL && (uintptr_t)p < (uintptr_t)s.threads[i].top);
}

void sched_only_self(void)
{
    s.forked = true;
    for (int i = 0; i < s.n_threads; i++) {
        struct thread_of_run *t = &s.threads[i];
        if (i == sched.self || t->state == ENDED)
            continue;
        t->state = ENDED;
        s.stall.over = true;
        t->made = false; /* its stack is not at rest */
    }
    s.ready = bit(sched.self);
    s.timed = s.startled = 0;
}

static _Unwind_Reason_Code exit_step(int version, _Unwind_Action actions,
                                     _Unwind_Exception_Class exception_class,
                                     struct _Unwind_Exception *exception,
                                     struct _Unwind_Context *context, void *arg)
{
    struct thread_of_run *t = arg;
    (void)version, (void)exception_class, (void)exception;
    if ((actions & _UA_END_OF_STACK) || _Unwind_GetCFA(context) >= (uintptr_t)t->exit_frame)
        _longjmp(t->exit_to, 1);
    return _URC_NO_REASON;
}

_Noreturn void sched_exit(void)
{
    struct thread_of_run *t = &s.threads[sched.self];
    memset(&t->exit_exception, 0, sizeof(t->exit_exception));
    (void)_Unwind_ForcedUnwind(&t->exit_exception, exit_step, t);
    explore_fail("cannot unwind the stack");
}

void sched_run(const struct sched_plan *plan, void (*body)(void *arg), void *arg)
{
    memset(&sched, 0, sizeof(sched));
    sched.plan = *plan;
    sched.now_ns = UINT64_C(1000000000);
    s.n_threads = 0;
    s.ready = s.timed = s.startled = 0;
    s.tickets = 0;
    s.random = plan->seed * UINT64_C(0xd1342543de82ef95);
    s.byte = 0;
    s.until_switch = 0;
    s.choice = 0;
    s.preempted = 0;
    s.forked = false;
    s.settler = s.stall.thread = -1;
    s.stall.begun = s.stall.over = s.stall.awaited = false;
    s.lowest = 0;
    n_traced = 0;
    s.stay_mask = (UINT64_C(1) << (random_next() % 6)) - 1;
    uint64_t length = UINT64_C(64) << random_next() % 5; /* of the run: a guess */
    uint64_t n_changes = 1 + random_next() % MAX_CHANGES;
    for (unsigned i = 0; i < MAX_CHANGES; i++)
        s.change_at[i] = i < n_changes ? 1 + random_next() % length : 0;
    if (_setjmp(s.driver) == 0) {
        (void)sched_spawn(body, arg);
        sched_thread_runs(0);
        _longjmp(s.threads[0].at, 1);
    }
    for (int i = 0; i < s.n_threads; i++)
        if (s.threads[i].state != ENDED)
            explore_fail("thread %d was not joined", i);
}

/* ------------------------------------------------------------------- reports */

static void print_step(uint64_t i)
{
    const char *slash = strrchr(trace[i % TRACE].site, '/');
    fprintf(stderr, "#   %d  %-24s %-10s %p %#llx\n", trace[i % TRACE].thread,
            slash != NULL ? slash + 1 : trace[i % TRACE].site, trace[i % TRACE].what,
            (void *)(uintptr_t)trace[i % TRACE].address,
            (unsigned long long)trace[i % TRACE].value);
}

void sched_note(const char *site, const char *what, const volatile void *address, uint64_t value)
{
    uint64_t i = n_traced++;
    trace[i % TRACE].thread = sched.self;
    trace[i % TRACE].site = site;
    trace[i % TRACE].what = what;
    trace[i % TRACE].address = address;
    trace[i % TRACE].value = value;
    if (sched.plan.trace)
        print_step(i);
}

void explore_fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fprintf(stderr, "# failed in thread %d, step %llu: ", sched.self,
            (unsigned long long)sched.n_steps);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    if (!sched.plan.trace)
        for (uint64_t i = n_traced > TRACE ? n_traced - TRACE : 0; i < n_traced; i++)
            print_step(i);
    for (int i = 0; i < s.n_threads; i++)
        fprintf(stderr, "# thread %d is %s at %s\n", i,
                s.threads[i].state == READY     ? "ready"
                : s.threads[i].state == ASLEEP  ? "asleep"
                : s.threads[i].state == STALLED ? "stalled"
                                                : "no more",
                s.threads[i].site);
    sched_failed();
    abort();
}
