/* SPDX-License-Identifier: BSD-2-Clause */
/* Engines, and their lives: who shares one, what is asked of it, forks. */
#include "engine.h"

#include "dial.h"
#include "loop.h"
#include "scripts.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SLACK = SCRIPT_INLINE_BUDGET + 4096, /* bytes of a reply: of a push, or beside a value */
    MAX_PATIENCE_MS = 10000,             /* a lease, but not more, is waited for an answer */
};

struct engine {
    struct pilot pilot;
    struct engine_options options; /* the strings are ours */
    struct engine *next;           /* registry_lock */
    unsigned n_members;            /* registry_lock */
    struct link_options link_options;
    char client_name[160];
    pthread_t thread;
    int wake_fd;

    pthread_mutex_t lock;
    struct claim *asked, **asked_end; /* first in, first out */
    unsigned n_settling;              /* calls of engine_settle() and _leave() that wait */
    uint64_t n_taken;                 /* times that the list was taken, and done */
    struct member *leaving;
    bool stops;
    pthread_cond_t was_taken;
};

/* The engines of this process; fork() holds the lock. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine *engines;
static atomic_uint generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_error;

static _Thread_local bool is_engine_thread;

/* ---------------------------------------------------------------- fork */

static void before_fork(void)
{
    pthread_mutex_lock(&registry_lock);
    dial_hold();
}

static void after_fork_in_parent(void)
{
    dial_let_go();
    pthread_mutex_unlock(&registry_lock);
}

/*
 * The engines are the parent's, and stay as they are.  Their connections are closed here, so that
 * they end with the parent.
 */
static void after_fork_in_child(void)
{
    int cancel_state;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* close() is a point */
    for (struct engine *e = engines; e != NULL; e = e->next) {
        loop_close_in_child(&e->pilot);
        close(e->wake_fd);
    }
    engines = NULL;
    atomic_fetch_add(&generation, 1);
    is_engine_thread = false;
    dial_let_go();
    pthread_mutex_unlock(&registry_lock);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
}

static void fork_setup(void)
{
    fork_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* By the pid until after_fork_in_child() has run, which comes after others' handlers. */
bool engine_is_ours(const struct member *m)
{
    return m->generation == atomic_load_explicit(&generation, memory_order_relaxed) &&
           m->pid == getpid();
}

/* -------------------------------------------------------------- thread */

/* Takes what is asked.  False: the thread is to end. */
static bool take(struct engine *e)
{
    eventfd_t unused;
    bool stops;

    (void)eventfd_read(e->wake_fd, &unused);
    pthread_mutex_lock(&e->lock);
    struct claim *c = e->asked;
    struct member *leaving = e->leaving;
    e->asked = NULL;
    e->asked_end = &e->asked;
    e->leaving = NULL;
    stops = e->stops;
    while (c != NULL) {
        /* From here on it may be asked, and stand in the list, again. */
        struct claim *next = c->next_asked;
        unsigned what = c->asked;
        c->asked = 0;
        pthread_mutex_unlock(&e->lock);
        pilot_asked(&e->pilot, c, what);
        c = next;
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    if (leaving != NULL)
        pilot_forget_member(&e->pilot, leaving);
    pthread_mutex_lock(&e->lock);
    e->n_taken++;
    if (e->n_settling > 0)
        pthread_cond_broadcast(&e->was_taken);
    pthread_mutex_unlock(&e->lock);
    return !stops;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;

    is_engine_thread = true;
    pthread_setname_np(pthread_self(), "singleflight");
    do
        loop_run(&e->pilot, e->wake_fd);
    while (take(e));
    return NULL;
}

bool engine_thread_calls(void)
{
    return is_engine_thread;
}

static int start_thread(struct engine *e)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&e->thread, NULL, engine_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

/* Not eventfd_write(3), which is a cancellation point: callers hold the lock here. */
static void wake(struct engine *e)
{
    int saved = errno;
    uint64_t one = 1;

    (void)!syscall(SYS_write, e->wake_fd, &one, sizeof(one)); /* fails only if it is readable */
    errno = saved;
}

/* With the lock. */
static void wait_until_taken(struct engine *e)
{
    /* A list that is being done now was taken before; the one after it is not. */
    uint64_t until = e->n_taken + 2;

    e->n_settling++;
    while (e->n_taken < until) {
        wake(e);
        pthread_cond_wait(&e->was_taken, &e->lock);
    }
    e->n_settling--;
}

void engine_settle(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    wait_until_taken(e);
    pthread_mutex_unlock(&e->lock);
}

/* ------------------------------------------------------------- engines */

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_engine(const struct engine_options *a, const struct engine_options *b)
{
    return same(a->address, b->address) && same(a->prefix, b->prefix) && same(a->user, b->user) &&
           same(a->password, b->password) && same(a->ca_file, b->ca_file) &&
           same(a->cert_file, b->cert_file) && same(a->key_file, b->key_file) &&
           a->database == b->database;
}

static void free_engine(struct engine *e)
{
    loop_free(&e->pilot);
    address_free(&e->link_options.address);
    tls_free(e->link_options.tls);
    if (e->wake_fd >= 0)
        close(e->wake_fd);
    free((char *)e->options.address);
    free((char *)e->options.prefix);
    free((char *)e->options.user);
    free((char *)e->options.password);
    free((char *)e->options.ca_file);
    free((char *)e->options.cert_file);
    free((char *)e->options.key_file);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->was_taken);
    free(e);
}

/* A copy in *to; false: no memory. */
static bool copy(const char **to, const char *from)
{
    *to = from == NULL ? NULL : strdup(from);
    return from == NULL || *to != NULL;
}

static bool copy_options(struct engine *e, const struct engine_options *o)
{
    struct engine_options *to = &e->options;
    bool address = copy(&to->address, o->address), prefix = copy(&to->prefix, o->prefix);
    bool user = copy(&to->user, o->user), password = copy(&to->password, o->password);
    bool ca = copy(&to->ca_file, o->ca_file), cert = copy(&to->cert_file, o->cert_file);
    bool key = copy(&to->key_file, o->key_file);

    to->database = o->database;
    to->lease_ms = o->lease_ms;
    return address && prefix && user && password && ca && cert && key;
}

/* "sf-PROCESS-HOST-PID", of what CLIENT SETNAME allows. */
static void name_client(struct engine *e, uint64_t process)
{
    char host[65] = "";

    (void)gethostname(host, sizeof(host) - 1);
    for (char *p = host; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            *p = '?';
    snprintf(e->client_name, sizeof(e->client_name), "sf-%016llx-%s-%ld",
             (unsigned long long)process, host, (long)getpid());
}

static int set_up(struct engine *e, const struct engine_options *o)
{
    struct link_options *l = &e->link_options;
    uint64_t process;

    e->asked_end = &e->asked;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->was_taken, NULL);
    e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->wake_fd < 0)
        return -errno;
    if (!copy_options(e, o))
        return -ENOMEM;
    int rc = address_parse(&l->address, o->address);
    if (rc == 0 && l->address.kind == ADDRESS_TLS)
        rc = tls_new(&l->tls, o->ca_file, o->cert_file, o->key_file);
    if (rc != 0)
        return rc;
    if (getrandom(&process, sizeof(process), 0) != (ssize_t)sizeof(process))
        return -EAGAIN;
    name_client(e, process);
    l->user = e->options.user;
    l->password = e->options.password;
    l->database = o->database;
    l->client_name = e->client_name;
    l->timeout_ms = o->lease_ms < MAX_PATIENCE_MS ? o->lease_ms : MAX_PATIENCE_MS;
    if (!loop_init(&e->pilot, l, e->options.prefix, process, l->timeout_ms))
        return -ENOMEM;
    return start_thread(e);
}

static int new_engine(struct engine **out, const struct engine_options *o)
{
    struct engine *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return -ENOMEM;
    e->wake_fd = -1;
    int rc = set_up(e, o);
    if (rc != 0) {
        free_engine(e);
        return rc;
    }
    e->next = engines;
    engines = e;
    *out = e;
    return 0;
}

int engine_enter(struct member *m, const struct engine_options *o)
{
    int rc = 0;

    pthread_once(&fork_once, fork_setup);
    if (fork_error != 0)
        return -fork_error;
    pthread_mutex_lock(&registry_lock);
    struct engine *e = engines;
    while (e != NULL && (e->n_members == 0 || !same_engine(&e->options, o)))
        e = e->next; /* one without members ends */
    if (e == NULL)
        rc = new_engine(&e, o);
    if (rc == 0) {
        e->n_members++;
        loop_allow_reply(&e->pilot, m->max_value + SLACK);
        m->engine = e;
        m->generation = atomic_load(&generation);
        m->pid = getpid();
    }
    pthread_mutex_unlock(&registry_lock);
    return rc;
}

void engine_leave(struct member *m)
{
    struct engine *e = m->engine;

    if (!engine_is_ours(m))
        return;
    pthread_mutex_lock(&e->lock);
    while (e->leaving != NULL)
        wait_until_taken(e);
    e->leaving = m;
    wait_until_taken(e);
    pthread_mutex_unlock(&e->lock);

    /* A member until here: whoever leaves last frees the engine that all others have waited at. */
    pthread_mutex_lock(&registry_lock);
    bool is_last = --e->n_members == 0;
    pthread_mutex_unlock(&registry_lock);
    if (!is_last)
        return;
    pthread_mutex_lock(&e->lock);
    e->stops = true;
    wake(e);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    /* A child that is forked before this closes the descriptors. */
    pthread_mutex_lock(&registry_lock);
    struct engine **at = &engines;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    free_engine(e);
    pthread_mutex_unlock(&registry_lock);
}

/* -------------------------------------------------------------- callers */

struct claim *engine_claim(struct member *m, enum claim_kind kind, const void *key, size_t key_len)
{
    return claim_new(m, kind, m->engine->options.prefix, key, key_len);
}

/* With the lock. */
static void put_in_list(struct engine *e, struct claim *c, unsigned what)
{
    bool was_empty = e->asked == NULL;

    if (c->asked == 0) {
        claim_own(c); /* the list does, until what is asked has been done */
        c->next_asked = NULL;
        *e->asked_end = c;
        e->asked_end = &c->next_asked;
    }
    c->asked |= what;
    if (was_empty)
        wake(e);
}

void engine_ask(struct claim *c, unsigned what)
{
    struct engine *e = c->member->engine;

    if (what & ASK_START)
        claim_own(c); /* the thread does, until it has ended it */
    if ((what & ASK_START) && c->kind == CLAIM_FLIGHT)
        atomic_fetch_add(&c->member->n_flights, 1);
    pthread_mutex_lock(&e->lock);
    put_in_list(e, c, what);
    pthread_mutex_unlock(&e->lock);
}

void engine_give(struct claim *c, unsigned what)
{
    struct engine *e = c->member->engine;

    pthread_mutex_lock(&e->lock);
    put_in_list(e, c, what);
    claim_let_go(c); /* not the last: the list has it */
    pthread_mutex_unlock(&e->lock);
}

int engine_breaker(struct engine *e)
{
    return loop_breaker(&e->pilot);
}

struct counts *engine_counts(struct engine *e)
{
    return &e->pilot.counts;
}

void engine_last_error(struct engine *e, char *buf, size_t n)
{
    loop_last_error(&e->pilot, buf, n);
}
