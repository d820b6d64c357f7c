/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crew.c - orders go by a socket for each process, and a byte comes back when one is done; what
 * came of it is in shared memory, which outlives whoever is killed.
 */
#include "crew.h"

#include "../lib/bench.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    atomic_uint gate; /* 1: open */
    atomic_uint n_runs;
    atomic_uint_fast64_t last_run_ns; /* when it began */
    atomic_uint_fast64_t refused;
    struct outcome outcome[CREW_THREADS];
};

struct crew {
    const struct way *way;
    unsigned n;
    pid_t pid[CREW_MAX];
    int socket[CREW_MAX];
    struct place *places; /* shared */
};

/* ---------------------------------------------------------- in the processes */

static struct {
    const struct way *way;
    void *own;
    unsigned number;
    struct place *place;
    struct order order;
    pthread_barrier_t start;
} self;

struct getter { /* a thread */
    unsigned number;
    bool ran;
};

static void run(struct way_value *v, void *arg)
{
    struct getter *g = arg;
    struct place *p = self.place;
    g->ran = true;
    atomic_store(&p->last_run_ns, bench_now_ns());
    const unsigned number = atomic_fetch_add(&p->n_runs, 1);
    while (self.order.gated && atomic_load(&p->gate) == 0)
        syscall(SYS_futex, &p->gate, FUTEX_WAIT, 0, NULL, NULL, 0);
    if (!self.order.gated)
        bench_sleep_ns(self.order.run_ns);
    *v =
        (struct way_value){.run = (uint64_t)self.number << 32 | number, .ended_ns = bench_now_ns()};
    memset(v->text, 'x', sizeof(v->text));
}

static void *get(void *arg)
{
    struct getter *g = arg;
    char key[48];
    struct way_value v;
    snprintf(key, sizeof(key), self.order.own_keys ? "%s-%u" : "%s", self.order.key, g->number);
    pthread_barrier_wait(&self.start);
    self.way->get(self.own, key, run, g, &v);
    self.place->outcome[g->number] = (struct outcome){bench_now_ns(), v.run, v.ended_ns, g->ran};
    return NULL;
}

static void follow(const struct order *o)
{
    pthread_t threads[CREW_THREADS];
    struct getter getters[CREW_THREADS];
    self.order = *o;
    BENCH_CHECK(pthread_barrier_init(&self.start, NULL, o->n_threads) == 0);
    for (unsigned i = 0; i < o->n_threads; i++) {
        getters[i] = (struct getter){.number = i};
        if (i != 0)
            BENCH_CHECK(pthread_create(&threads[i], NULL, get, &getters[i]) == 0);
    }
    get(&getters[0]);
    for (unsigned i = 1; i < o->n_threads; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&self.start);
    if (self.way->settle != NULL && o->gated)
        atomic_store(&self.place->refused, self.way->settle(self.own));
}

__attribute__((noreturn)) static void live(const struct crew *c, unsigned number,
                                           const struct engine *e, uint32_t lock_ms, int orders)
{
    struct order o;
    self.way = c->way;
    self.number = number;
    self.place = &c->places[number];
    self.own = c->way->open(e, lock_ms);
    while (write(orders, "", 1) == 1 && read(orders, &o, sizeof(o)) == sizeof(o))
        follow(&o);
    c->way->close(self.own);
    _exit(EXIT_SUCCESS);
}

/* ------------------------------------------------------------- in the program */

struct crew *crew_create(const struct way *way, const struct engine *e, unsigned n,
                         uint32_t lock_ms)
{
    struct crew *c = calloc(1, sizeof(*c));
    const pid_t parent = getpid();
    BENCH_CHECK(c != NULL && n <= CREW_MAX);
    c->way = way;
    c->n = n;
    c->places = mmap(NULL, n * sizeof(struct place), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BENCH_CHECK(c->places != MAP_FAILED);
    fflush(stdout);
    for (unsigned i = 0; i < n; i++) {
        int ends[2];
        BENCH_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        c->pid[i] = fork();
        BENCH_CHECK(c->pid[i] >= 0);
        if (c->pid[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(EXIT_FAILURE);
            for (unsigned k = 0; k < i; k++)
                close(c->socket[k]);
            close(ends[0]);
            live(c, i, e, lock_ms, ends[1]);
        }
        close(ends[1]);
        c->socket[i] = ends[0];
    }
    for (unsigned i = 0; i < n; i++)
        crew_wait(c, i); /* it has opened its way */
    return c;
}

void crew_destroy(struct crew *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        int status;
        shutdown(c->socket[i], SHUT_RDWR); /* other crews' processes have it too */
        close(c->socket[i]);
        if (c->pid[i] != 0)
            BENCH_CHECK(waitpid(c->pid[i], &status, 0) == c->pid[i] && status == 0);
    }
    munmap(c->places, c->n * sizeof(struct place));
    free(c);
}

void crew_begin(struct crew *c, unsigned process, const struct order *o)
{
    BENCH_CHECK(write(c->socket[process], o, sizeof(*o)) == sizeof(*o));
}

void crew_wait(struct crew *c, unsigned process)
{
    char done;
    BENCH_CHECK(read(c->socket[process], &done, 1) == 1);
}

const struct outcome *crew_outcome(const struct crew *c, unsigned process, unsigned thread)
{
    return &c->places[process].outcome[thread];
}

unsigned crew_runs(const struct crew *c, unsigned process)
{
    return atomic_load(&c->places[process].n_runs);
}

uint64_t crew_wait_for_runs(const struct crew *c, unsigned process, unsigned n)
{
    while (crew_runs(c, process) < n)
        bench_sleep_ns(500000);
    return atomic_load(&c->places[process].last_run_ns);
}

void crew_open_gate(struct crew *c, unsigned process)
{
    atomic_uint *gate = &c->places[process].gate;
    atomic_store(gate, 1);
    syscall(SYS_futex, gate, FUTEX_WAKE, CREW_THREADS, NULL, NULL, 0);
}

void crew_shut_gate(struct crew *c, unsigned process)
{
    atomic_store(&c->places[process].gate, 0);
}

void crew_kill(struct crew *c, unsigned process)
{
    kill(c->pid[process], SIGKILL);
    BENCH_CHECK(waitpid(c->pid[process], NULL, 0) == c->pid[process]);
    c->pid[process] = 0;
}

void crew_stop(const struct crew *c, unsigned process)
{
    int status;
    kill(c->pid[process], SIGSTOP);
    BENCH_CHECK(waitpid(c->pid[process], &status, WUNTRACED) == c->pid[process] &&
                WIFSTOPPED(status));
}

void crew_continue(const struct crew *c, unsigned process)
{
    kill(c->pid[process], SIGCONT);
}

uint64_t crew_refused(const struct crew *c, unsigned process)
{
    return atomic_load(&c->places[process].refused);
}
