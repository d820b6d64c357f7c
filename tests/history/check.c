/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history_check FILE...   do these histories keep the rules?
 *
 * The rules, by the names that complaints begin with:
 *   answer    every caller is answered once; one that has dropped its future or taken it
 *             back, or whose thread has ended, is not
 *   leader    every execution has one leader, and who says that it led, did
 *   overlap   executions for a key do not overlap, unless it was forgotten between
 *   belongs   a result is of the caller's key and of an execution that overlaps the
 *             caller: ended before it returned, its leader not back before it began
 *   returned  no caller gets a result that another had returned with before it began
 *   older     nor one that is older than another with which somebody had: of an execution that
 *             had begun before the other's leader did
 *   forgotten no caller gets the result of an execution that had begun before a
 *             forgetting began that was over before the caller began
 *   flying    forget says 1, and forget_unshared 0, only while a call may be in flight
 *   cause     -EOWNERDEAD comes from a leader of the key that died meanwhile; or, with
 *             takeover, before, and who could have taken its call over left it meanwhile
 *   followers all results of an execution, and who ended it, are told the same number: those
 *             who got its result, and of those who left no more than may have been there
 *   last      who leaves a call to nobody is told that it was the last, and nobody is while
 *             another waits; the leader is told once
 *   destroyed every value is destroyed exactly once
 *   held      and not before the last hold is being given up
 *   counts    callers, executions and how they ended add up with the group's stats; where
 *             unwanted calls are forgotten, as many as had somebody who left last; a call that
 *             had two of them is forgotten once
 *
 * Prints a line for each file that keeps them, complaints otherwise; ends with 1
 * if there was any, 2 if a file is not a history.
 */
#include "history.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER INT64_MAX

struct caller {
    bool there;
    int kind, outcome;
    unsigned key, answers;
    long exec;         /* -1: none */
    int64_t followers; /* NEVER: none */
    int64_t began, returned, released;
};

struct exec {
    bool there;
    int how;
    unsigned key, destroyed, told;
    long leader, n_led; /* n_led: callers that say that they led it */
    int64_t n_results;  /* followers that got its result */
    int64_t over, followers;
    int64_t began, ended, destroyed_at;
    int64_t leader_began, leader_returned;
    int64_t first_return; /* of a caller with its result */
    int64_t newer_return; /* the same, or of a later one by `by_leader` of its key */
};

struct forgetting {
    unsigned key;
    bool unshared;
    int answer;
    int64_t began, returned;
    int64_t latest_before;  /* return of those of the key, up to here, that forgot something */
    int64_t earliest_after; /* return of those, from here on, that left nothing to join */
};

/* A caller that left a call, or was told that its leader is dead: of which one is not known. */
struct leaver {
    const struct caller *caller;
    int64_t latest; /* return of those of the key, up to here */
};

struct history {
    const char *name;
    struct caller *callers; /* by number */
    struct exec *execs;
    struct forgetting *forgettings;           /* after indexing: by key, then by beginning */
    struct exec **by_key;                     /* executions by key, then by beginning */
    struct exec **by_leader;                  /* by key, then by when their leaders began */
    size_t n_callers, n_execs, n_forgettings; /* the highest number, plus 1 */
    size_t n_caller_lines, n_exec_lines;
    struct leaver *leavers; /* by key, then by beginning */
    size_t n_leavers;
    bool has_stats, takeover, cancels;
    uint64_t led, joined, timed_out, rejected, abandoned, panicked, taken_over, forgotten;
    unsigned n_complaints;
};

enum { MAX_COMPLAINTS = 20, LINE = 256 };

static void __attribute__((format(printf, 3, 4)))
complain(struct history *h, const char *rule, const char *fmt, ...)
{
    va_list ap;

    if (++h->n_complaints > MAX_COMPLAINTS)
        return;
    printf("%s: %s: ", h->name, rule);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* --------------------------------------------------------------- reading */

static void *grow(void *array, size_t *n, size_t wanted, size_t size)
{
    size_t more = *n == 0 ? 1024 : *n;

    while (more < wanted)
        more *= 2;
    char *larger = realloc(array, more * size);
    if (larger == NULL) {
        perror("history_check");
        exit(2);
    }
    memset(larger + *n * size, 0, (more - *n) * size);
    *n = more;
    return larger;
}

static int lookup(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

static int64_t time_of(const char *word)
{
    return strcmp(word, "-") == 0 ? NEVER : strtoll(word, NULL, 10);
}

struct rooms {
    size_t callers, execs, forgettings;
};

static bool read_caller(struct history *h, struct rooms *rooms, const char *line)
{
    char kind[16], outcome[16], exec[24], returned[24], released[24], followers[24];
    unsigned long id;
    long long began;
    struct caller c = {.there = true};

    if (sscanf(line, "caller %lu %15s %u %lld %23s %u %15s %23s %23s %23s", &id, kind, &c.key,
               &began, returned, &c.answers, outcome, exec, released, followers) != 10)
        return false;
    c.kind = lookup(kind, kind_names, N_KINDS);
    c.outcome = lookup(outcome, outcome_names, N_OUTCOMES);
    c.exec = strcmp(exec, "-") == 0 ? -1 : strtol(exec, NULL, 10);
    c.began = began;
    c.returned = time_of(returned);
    c.released = time_of(released);
    c.followers = time_of(followers);
    if (id >= rooms->callers)
        h->callers = grow(h->callers, &rooms->callers, id + 1, sizeof(c));
    if (c.kind < 0 || c.outcome < 0 || h->callers[id].there)
        return false;
    h->callers[id] = c;
    h->n_callers = id + 1 > h->n_callers ? id + 1 : h->n_callers;
    h->n_caller_lines++;
    return true;
}

static bool read_exec(struct history *h, struct rooms *rooms, const char *line)
{
    char how[16], at[24], over[24], followers[24];
    unsigned long id;
    long long began, ended;
    struct exec e = {.there = true, .first_return = NEVER, .leader_returned = NEVER};

    if (sscanf(line, "exec %lu %u %ld %lld %lld %15s %u %23s %23s %23s %u", &id, &e.key, &e.leader,
               &began, &ended, how, &e.destroyed, at, over, followers, &e.told) != 11)
        return false;
    e.how = lookup(how, how_names, N_HOWS);
    e.began = began;
    e.ended = ended;
    e.leader_began = began;
    e.destroyed_at = time_of(at);
    e.over = time_of(over);
    e.followers = time_of(followers);
    if (id >= rooms->execs)
        h->execs = grow(h->execs, &rooms->execs, id + 1, sizeof(e));
    if (e.how < 0 || h->execs[id].there)
        return false;
    h->execs[id] = e;
    h->n_execs = id + 1 > h->n_execs ? id + 1 : h->n_execs;
    h->n_exec_lines++;
    return true;
}

static bool read_forget(struct history *h, struct rooms *rooms, const char *line)
{
    char word[16];
    long long began, returned;
    struct forgetting f;

    if (sscanf(line, "%15s %u %lld %lld %d", word, &f.key, &began, &returned, &f.answer) != 5)
        return false;
    f.unshared = strcmp(word, "forget_unshared") == 0;
    f.began = began;
    f.returned = returned;
    if (h->n_forgettings >= rooms->forgettings)
        h->forgettings = grow(h->forgettings, &rooms->forgettings, h->n_forgettings + 1, sizeof(f));
    h->forgettings[h->n_forgettings++] = f;
    return true;
}

static bool read_stats(struct history *h, const char *line)
{
    unsigned long long n[8];

    if (sscanf(line, "stats %llu %llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3],
               &n[4], &n[5], &n[6], &n[7]) != 8)
        return false;
    h->led = n[0];
    h->joined = n[1];
    h->timed_out = n[2];
    h->rejected = n[3];
    h->abandoned = n[4];
    h->panicked = n[5];
    h->taken_over = n[6];
    h->forgotten = n[7];
    h->has_stats = true;
    return true;
}

static void history_read(struct history *h, FILE *file)
{
    struct rooms rooms = {0};
    char line[LINE];
    unsigned number = 0;

    while (fgets(line, sizeof(line), file) != NULL) {
        bool ok;
        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (strncmp(line, "caller ", 7) == 0)
            ok = read_caller(h, &rooms, line);
        else if (strncmp(line, "exec ", 5) == 0)
            ok = read_exec(h, &rooms, line);
        else if (strcmp(line, "takeover\n") == 0)
            ok = h->takeover = true;
        else if (strcmp(line, "cancel_unwanted\n") == 0)
            ok = h->cancels = true;
        else if (strncmp(line, "forget", 6) == 0)
            ok = read_forget(h, &rooms, line);
        else
            ok = read_stats(h, line);
        if (!ok) {
            fprintf(stderr, "history_check: %s:%u: not a line of a history\n", h->name, number);
            exit(2);
        }
    }
    if (h->n_caller_lines == 0) {
        fprintf(stderr, "history_check: %s: no callers\n", h->name);
        exit(2);
    }
}

/* -------------------------------------------------------------- indexing */

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_key_and_beginning(const void *a, const void *b)
{
    const struct exec *x = *(struct exec *const *)a, *y = *(struct exec *const *)b;
    return x->key != y->key ? order(x->key, y->key) : order(x->began, y->began);
}

static int by_key_and_leader(const void *a, const void *b)
{
    const struct exec *x = *(struct exec *const *)a, *y = *(struct exec *const *)b;
    return x->key != y->key ? order(x->key, y->key) : order(x->leader_began, y->leader_began);
}

static int forgettings_in_order(const void *a, const void *b)
{
    const struct forgetting *x = a, *y = b;
    return x->key != y->key ? order(x->key, y->key) : order(x->began, y->began);
}

/* After it, no call that was there before may be joined. */
static bool is_effective(const struct forgetting *f)
{
    return !f->unshared || f->answer == 1;
}

static struct exec *exec_of(const struct history *h, const struct caller *c)
{
    return c->exec >= 0 && (size_t)c->exec < h->n_execs && h->execs[c->exec].there
               ? &h->execs[c->exec]
               : NULL;
}

/* NULL: it has none. */
static struct caller *leader_of(const struct history *h, const struct exec *e)
{
    return e->leader >= 0 && (size_t)e->leader < h->n_callers && h->callers[e->leader].there
               ? &h->callers[e->leader]
               : NULL;
}

static bool has_result(const struct caller *c)
{
    return c->outcome == OUTCOME_LED || c->outcome == OUTCOME_JOINED ||
           c->outcome == OUTCOME_PANICKED;
}

static bool has_left(const struct caller *c)
{
    return c->outcome == OUTCOME_TIMED_OUT || c->outcome == OUTCOME_LEFT ||
           c->outcome == OUTCOME_DROPPED || c->outcome == OUTCOME_LAST ||
           c->outcome == OUTCOME_CANCELLED;
}

static int leavers_in_order(const void *a, const void *b)
{
    const struct leaver *x = a, *y = b;
    return x->caller->key != y->caller->key ? order(x->caller->key, y->caller->key)
                                            : order(x->caller->began, y->caller->began);
}

static void index_leavers(struct history *h)
{
    h->leavers = calloc(h->n_callers + 1, sizeof(*h->leavers));
    for (size_t i = 0; i < h->n_callers; i++) {
        struct caller *c = &h->callers[i];
        if (c->there && (has_left(c) || c->outcome == OUTCOME_OWNER_DEAD))
            h->leavers[h->n_leavers++].caller = c;
    }
    qsort(h->leavers, h->n_leavers, sizeof(*h->leavers), leavers_in_order);
    for (size_t i = 0; i < h->n_leavers; i++) {
        struct leaver *l = &h->leavers[i];
        l->latest = l->caller->returned;
        if (i != 0 && l[-1].caller->key == l->caller->key && l[-1].latest > l->latest)
            l->latest = l[-1].latest;
    }
}

/* Where something stands in an array that is in order by key, then by time. */
struct at {
    unsigned key;
    int64_t when;
};
typedef struct at at_fn(const struct history *h, size_t i);

static struct at at_leaver(const struct history *h, size_t i)
{
    return (struct at){h->leavers[i].caller->key, h->leavers[i].caller->began};
}

static struct at at_forgetting(const struct history *h, size_t i)
{
    return (struct at){h->forgettings[i].key, h->forgettings[i].began};
}

static struct at at_beginning(const struct history *h, size_t i)
{
    return (struct at){h->by_key[i]->key, h->by_key[i]->began};
}

static struct at at_leader(const struct history *h, size_t i)
{
    return (struct at){h->by_leader[i]->key, h->by_leader[i]->leader_began};
}

/* How many of n come before that time of that key. */
static size_t n_before(const struct history *h, size_t n, at_fn *at_of, unsigned key, int64_t when)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = (low + high) / 2;
        struct at at = at_of(h, middle);
        if (at.key < key || (at.key == key && at.when < when))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Those of the key, or of keys before it, that began before that. */
static size_t leavers_before(const struct history *h, unsigned key, int64_t when)
{
    return n_before(h, h->n_leavers, at_leaver, key, when);
}

static void index_leaders(struct history *h, size_t n)
{
    h->by_leader = calloc(n + 1, sizeof(*h->by_leader));
    memcpy(h->by_leader, h->by_key, n * sizeof(*h->by_leader));
    qsort(h->by_leader, n, sizeof(*h->by_leader), by_key_and_leader);
    for (size_t i = n; i-- > 0;) {
        struct exec *e = h->by_leader[i];
        const struct exec *next = i + 1 < n ? h->by_leader[i + 1] : NULL;
        e->newer_return = e->first_return;
        if (next != NULL && next->key == e->key && next->newer_return < e->newer_return)
            e->newer_return = next->newer_return;
    }
}

static void index_history(struct history *h)
{
    size_t n = 0;

    index_leavers(h);

    h->by_key = calloc(h->n_execs + 1, sizeof(*h->by_key));
    for (size_t i = 0; i < h->n_execs; i++)
        if (h->execs[i].there)
            h->by_key[n++] = &h->execs[i];
    qsort(h->by_key, n, sizeof(*h->by_key), by_key_and_beginning);

    if (h->n_forgettings != 0)
        qsort(h->forgettings, h->n_forgettings, sizeof(*h->forgettings), forgettings_in_order);
    for (size_t i = 0; i < h->n_forgettings; i++) {
        struct forgetting *f = &h->forgettings[i];
        f->latest_before = f->answer == 1 ? f->returned : INT64_MIN;
        if (i != 0 && f[-1].key == f->key && f[-1].latest_before > f->latest_before)
            f->latest_before = f[-1].latest_before;
    }
    for (size_t i = h->n_forgettings; i-- > 0;) {
        struct forgetting *f = &h->forgettings[i];
        f->earliest_after = is_effective(f) ? f->returned : NEVER;
        if (i + 1 < h->n_forgettings && f[1].key == f->key &&
            f[1].earliest_after < f->earliest_after)
            f->earliest_after = f[1].earliest_after;
    }

    for (size_t i = 0; i < h->n_callers; i++) {
        struct caller *c = &h->callers[i];
        struct exec *e = exec_of(h, c);
        if (!c->there || e == NULL)
            continue;
        if (has_result(c) && c->returned < e->first_return)
            e->first_return = c->returned;
        if (c->outcome == OUTCOME_LED)
            e->n_led++;
        e->n_results += has_result(c) && e->leader != (long)i;
    }
    for (size_t i = 0; i < n; i++) {
        struct exec *e = h->by_key[i];
        const struct caller *leader = leader_of(h, e);
        if (leader == NULL)
            continue;
        e->leader_began = leader->began;
        if (leader->kind == KIND_OWN) /* its permit ends by itself */
            e->leader_returned = e->over;
        else if (leader->kind != KIND_START) /* and so does its thread */
            e->leader_returned = leader->returned;
    }
    index_leaders(h, n);
}

/* The first forgetting of the key that began at `when` or later (strictly: after it). */
static size_t forgetting_from(const struct history *h, unsigned key, int64_t when, bool strictly)
{
    return n_before(h, h->n_forgettings, at_forgetting, key, strictly ? when + 1 : when);
}

/* --------------------------------------------------------------- the rules */

static void check_answers(struct history *h, size_t i, const struct caller *c)
{
    bool none = c->outcome == OUTCOME_GONE || (has_left(c) && c->outcome != OUTCOME_TIMED_OUT);

    if (c->answers != !none)
        complain(h, "answer", "caller %zu (%s) was answered %u times", i, outcome_names[c->outcome],
                 c->answers);
}

static void check_leaders(struct history *h)
{
    for (size_t i = 0; i < h->n_execs; i++) {
        struct exec *e = &h->execs[i];
        if (!e->there)
            continue;
        struct caller *leader = leader_of(h, e);
        if (leader == NULL || leader->key != e->key) {
            complain(h, "leader", "execution %zu has no leader", i);
            continue;
        }
        if (leader->kind == KIND_START) {
            if (e->n_led != 0)
                complain(h, "leader", "execution %zu was started, but %ld say that they led it", i,
                         e->n_led);
            continue;
        }
        if (leader->kind ==
            KIND_OWN) { /* its future may be gone, or the call have been taken over */
            bool led = leader->outcome == OUTCOME_LED && leader->exec == (long)i;
            bool as_it_ended = e->how == HOW_RETURNED ? led
                                                      : leader->outcome == OUTCOME_OWNER_DEAD ||
                                                            (h->takeover && has_result(leader));
            if (!as_it_ended && !has_left(leader))
                complain(h, "leader", "execution %zu %s, but its permit's holder %ld %s", i,
                         how_names[e->how], e->leader, outcome_names[leader->outcome]);
            if (e->n_led != led)
                complain(h, "leader", "execution %zu was led by %ld", i, e->n_led);
            continue;
        }
        if (leader->exec != (long)i)
            complain(h, "leader", "caller %ld led execution %zu and got %ld", e->leader, i,
                     leader->exec);
        int expected = e->how == HOW_RETURNED   ? OUTCOME_LED
                       : e->how == HOW_PANICKED ? OUTCOME_PANICKED
                                                : OUTCOME_GONE;
        if (leader->kind == KIND_MANY && leader->outcome == OUTCOME_GONE)
            continue; /* a later fn of its batch ended the thread */
        if (leader->outcome != expected)
            complain(h, "leader", "execution %zu %s, but its leader %ld %s", i, how_names[e->how],
                     e->leader, outcome_names[leader->outcome]);
        if (e->n_led != (e->how == HOW_RETURNED))
            complain(h, "leader", "execution %zu was led by %ld", i, e->n_led);
    }
}

/* May the key have been forgotten after the claim of the one and before that of the other? */
static bool forgotten_between(const struct history *h, const struct exec *a, const struct exec *b)
{
    size_t f = forgetting_from(h, b->key, b->began, false);
    size_t l = leavers_before(h, b->key, b->began);

    if (h->cancels && l != 0 && h->leavers[l - 1].caller->key == b->key &&
        h->leavers[l - 1].latest > a->leader_began)
        return true;
    return f != 0 && h->forgettings[f - 1].key == b->key &&
           h->forgettings[f - 1].latest_before > a->leader_began;
}

static void check_overlaps(struct history *h)
{
    for (size_t i = 0; i < h->n_exec_lines; i++) {
        struct exec *b = h->by_key[i];
        /*
         * Those that began before and are not over.  Where nothing is forgotten the
         * first that overlaps another is next to it; going further back finds more.
         */
        for (size_t j = i; j-- > 0 && h->by_key[j]->key == b->key;) {
            struct exec *a = h->by_key[j];
            if (a->ended <= b->began) {
                if (i - j > 64)
                    break;
            } else if (!forgotten_between(h, a, b) && !forgotten_between(h, b, a)) {
                complain(h, "overlap", "executions %zd and %zd of key %u", a - h->execs,
                         b - h->execs, b->key);
            }
        }
    }
}

/* The first return with a result of that key whose leader began after that. */
static int64_t first_newer_return(const struct history *h, unsigned key, int64_t when)
{
    size_t i = n_before(h, h->n_exec_lines, at_leader, key, when + 1);

    return i < h->n_exec_lines && h->by_leader[i]->key == key ? h->by_leader[i]->newer_return
                                                              : NEVER;
}

static void check_result(struct history *h, size_t i, struct caller *c)
{
    struct exec *e = exec_of(h, c);

    if (!has_result(c)) {
        if (c->exec >= 0 && c->outcome != OUTCOME_GONE)
            complain(h, "belongs", "caller %zu (%s) has a result", i, outcome_names[c->outcome]);
        return;
    }
    if (e == NULL) {
        complain(h, "belongs", "caller %zu has the result of no execution", i);
        return;
    }
    int expected = c->outcome == OUTCOME_PANICKED ? HOW_PANICKED : HOW_RETURNED;
    if (e->key != c->key || e->how != expected) {
        complain(h, "belongs", "caller %zu (key %u, %s) got execution %ld (key %u, %s)", i, c->key,
                 outcome_names[c->outcome], c->exec, e->key, how_names[e->how]);
        return;
    }
    if (e->ended > c->returned || c->began > e->leader_returned)
        complain(h, "belongs", "caller %zu and execution %ld do not overlap", i, c->exec);
    else if (c->began > e->first_return)
        complain(h, "returned", "caller %zu got execution %ld, which another had returned with", i,
                 c->exec);
    if (first_newer_return(h, c->key, e->began) < c->began)
        complain(h, "older", "caller %zu got execution %ld after a newer one", i, c->exec);
    size_t f = forgetting_from(h, c->key, e->began, true);
    if (f < h->n_forgettings && h->forgettings[f].key == c->key &&
        h->forgettings[f].earliest_after < c->began)
        complain(h, "forgotten", "caller %zu got execution %ld, forgotten before it began", i,
                 c->exec);
    if (c->outcome != OUTCOME_PANICKED && c->released != NEVER && e->destroyed_at < c->released)
        complain(h, "held", "execution %ld was destroyed while caller %zu held it", c->exec, i);
}

static size_t first_of_key(const struct history *h, unsigned key)
{
    return n_before(h, h->n_exec_lines, at_beginning, key, INT64_MIN);
}

/* The executions of the key that began before that: up to this one, itself excluded. */
static size_t last_begun_before(const struct history *h, unsigned key, int64_t when)
{
    return n_before(h, h->n_exec_lines, at_beginning, key, when);
}

static void check_forgettings(struct history *h)
{
    for (size_t i = 0; i < h->n_forgettings; i++) {
        struct forgetting *f = &h->forgettings[i];
        if (f->answer != (f->unshared ? 0 : 1))
            continue;
        size_t from = first_of_key(h, f->key), to = first_of_key(h, f->key + 1);
        size_t at = last_begun_before(h, f->key, f->returned);
        bool found = false;
        for (size_t j = at; j-- > from && !found;) {
            struct exec *e = h->by_key[j];
            found = e->leader_began <= f->returned &&
                    (e->how == HOW_DIED || e->first_return >= f->began);
        }
        /* fn begins a while after the claim: it may be one that began later. */
        for (size_t j = at; j < to && !found; j++)
            found = h->by_key[j]->leader_began <= f->returned;
        if (!found)
            complain(h, "flying", "%s of key %u at %lld said %d, and no call was in flight",
                     f->unshared ? "forget_unshared" : "forget", f->key, (long long)f->began,
                     f->answer);
    }
}

/* Did a caller that could have taken the key's call over leave it, meanwhile? */
static bool somebody_left(const struct history *h, const struct caller *c)
{
    for (size_t i = 0; i < h->n_callers; i++) {
        const struct caller *l = &h->callers[i];
        if (l->there && l->key == c->key && l->returned >= c->began && l->began <= c->returned &&
            (l->outcome == OUTCOME_TIMED_OUT || l->outcome == OUTCOME_LEFT))
            return true;
    }
    return false;
}

static void check_cause(struct history *h, size_t i, struct caller *c)
{
    bool died_before = false;

    if (c->outcome != OUTCOME_OWNER_DEAD)
        return;
    size_t from = first_of_key(h, c->key);
    for (size_t j = last_begun_before(h, c->key, c->returned); j-- > from;) {
        struct exec *e = h->by_key[j];
        if (e->how != HOW_DIED || e->ended > c->returned)
            continue;
        died_before = true;
        if (e->leader_returned >= c->began)
            return;
    }
    if (!h->takeover || !died_before || !somebody_left(h, c))
        complain(h, "cause", "caller %zu: no leader of key %u died meanwhile", i, c->key);
}

/* How many of those who left may have been followers of the execution when it closed? */
static int64_t may_have_followed(const struct history *h, const struct exec *e)
{
    int64_t closed = e->first_return < e->over ? e->first_return : e->over, n = 0;

    for (size_t i = leavers_before(h, e->key, closed); i-- > 0;) {
        const struct leaver *l = &h->leavers[i];
        if (l->caller->key != e->key || l->latest < e->ended)
            break;
        n += l->caller->returned >= e->ended && l->caller->outcome != OUTCOME_LAST &&
             l->caller != leader_of(h, e) && (l->caller->kind != KIND_OWN || h->takeover) &&
             (l->caller->outcome != OUTCOME_OWNER_DEAD || e->how == HOW_DIED);
    }
    return n;
}

static void check_followers(struct history *h)
{
    for (size_t i = 0; i < h->n_callers; i++) {
        struct caller *c = &h->callers[i];
        struct exec *e = exec_of(h, c);
        if (!c->there || e == NULL || !has_result(c) || c->followers == NEVER)
            continue;
        if (e->followers == NEVER)
            e->followers = c->followers;
        else if (e->followers != c->followers)
            complain(h, "followers", "caller %zu was told %lld for execution %ld, another %lld", i,
                     (long long)c->followers, c->exec, (long long)e->followers);
    }
    for (size_t i = 0; i < h->n_execs; i++) {
        struct exec *e = &h->execs[i];
        if (!e->there || e->followers == NEVER || (e->how == HOW_DIED && h->takeover))
            continue; /* those who follow a dead one may get another's result */
        int64_t most = e->n_results + may_have_followed(h, e);
        if (e->followers < e->n_results || e->followers > most)
            complain(h, "followers", "execution %zu had %lld, and not %lld to %lld", i,
                     (long long)e->followers, (long long)e->n_results, (long long)most);
    }
}

/* Did somebody leave the key after that and before the execution was over, who may have been the
   last, but for those of whom it is known that they were not? */
static bool left_last(const struct history *h, const struct exec *e, int64_t after)
{
    for (size_t i = leavers_before(h, e->key, e->over); i-- > 0;) {
        const struct leaver *l = &h->leavers[i];
        if (l->caller->key != e->key || l->latest < after)
            return false;
        if (l->caller->returned >= after && l->caller->outcome != OUTCOME_DROPPED)
            return true;
    }
    return false;
}

static void check_last(struct history *h)
{
    for (size_t i = 0; i < h->n_execs; i++) {
        struct exec *e = &h->execs[i];
        const struct caller *leader = e->there ? leader_of(h, e) : NULL;
        if (leader == NULL)
            continue;
        bool dropped = leader->outcome == OUTCOME_DROPPED, last = leader->outcome == OUTCOME_LAST;
        if (e->told > 1)
            complain(h, "last", "the leader of execution %zu was told %u times", i, e->told);
        if (h->cancels && (e->told != 0 || last) && e->followers != 0 && e->followers != NEVER)
            complain(h, "last", "execution %zu was left to nobody, and has %lld followers", i,
                     (long long)e->followers);
        /* The holder of the permit left before the end, and then everybody else. */
        if (leader->kind == KIND_OWN && dropped && leader->returned < e->ended &&
            e->followers == 0 && !left_last(h, e, leader->began))
            complain(h, "last", "all have left execution %zu, and none was the last", i);
    }
}

static void check_destroyed(struct history *h)
{
    for (size_t i = 0; i < h->n_execs; i++)
        if (h->execs[i].there && h->execs[i].destroyed != 1)
            complain(h, "destroyed", "the value of execution %zu, %u times", i,
                     h->execs[i].destroyed);
}

/* slack: what a batch leaves when its thread ends may have been counted, or not. */
static void check_sum(struct history *h, const char *what, uint64_t stats, uint64_t seen,
                      uint64_t slack)
{
    if (stats < seen || stats > seen + slack)
        complain(h, "counts", "%s: the group says %llu, the callers %llu to %llu", what,
                 (unsigned long long)stats, (unsigned long long)seen,
                 (unsigned long long)(seen + slack));
}

/*
 * Those who were last, though perhaps somebody had been before, and the call was forgotten then:
 * whoever has a permit and takes a future on its call has not waited for it from the beginning.
 */
static uint64_t count_last_again(const struct history *h)
{
    uint64_t n = 0;

    for (size_t i = 0; i < h->n_callers; i++) {
        const struct caller *own = &h->callers[i];
        if (!own->there || own->kind != KIND_OWN || own->outcome != OUTCOME_LAST)
            continue;
        for (size_t j = 0; j < h->n_callers; j++) {
            const struct caller *c = &h->callers[j];
            if (j != i && c->there && c->outcome == OUTCOME_LAST && c->key == own->key &&
                c->began >= own->began && c->returned <= own->returned) {
                n++;
                break;
            }
        }
    }
    return n;
}

static void check_counts(struct history *h)
{
    uint64_t n[N_OUTCOMES] = {0}, how[N_HOWS] = {0};

    for (size_t i = 0; i < h->n_callers; i++)
        if (h->callers[i].there)
            n[h->callers[i].outcome]++;
    for (size_t i = 0; i < h->n_execs; i++)
        if (h->execs[i].there)
            how[h->execs[i].how]++;
    if (!h->has_stats) {
        complain(h, "counts", "no stats");
        return;
    }
    uint64_t slack = n[OUTCOME_LEFT];
    check_sum(h, "callers", h->led + h->joined + h->rejected, h->n_caller_lines, 0);
    check_sum(h, "executions", h->led + h->taken_over, h->n_exec_lines, slack);
    check_sum(h, "timeouts", h->timed_out, n[OUTCOME_TIMED_OUT], slack);
    check_sum(h, "rejected", h->rejected, n[OUTCOME_REJECTED], slack);
    check_sum(h, "panicked", h->panicked, how[HOW_PANICKED], 0);
    check_sum(h, "died", h->abandoned, how[HOW_DIED], slack);
    if (h->cancels) {
        uint64_t again = count_last_again(h);
        check_sum(h, "unwanted", h->forgotten, n[OUTCOME_LAST] - again,
                  n[OUTCOME_CANCELLED] + n[OUTCOME_TIMED_OUT] + again);
    }
}

static void history_check(struct history *h)
{
    index_history(h);
    for (size_t i = 0; i < h->n_callers; i++) {
        struct caller *c = &h->callers[i];
        if (c->there) {
            check_answers(h, i, c);
            check_result(h, i, c);
            check_cause(h, i, c);
        }
    }
    check_leaders(h);
    check_overlaps(h);
    check_forgettings(h);
    check_followers(h);
    check_last(h);
    check_destroyed(h);
    check_counts(h);
}

int main(int argc, char **argv)
{
    bool failed = false;

    if (argc < 2) {
        fprintf(stderr, "usage: history_check FILE...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct history h = {.name = argv[i]};
        FILE *file = fopen(argv[i], "r");
        if (file == NULL) {
            perror(argv[i]);
            return 2;
        }
        history_read(&h, file);
        fclose(file);
        history_check(&h);
        if (h.n_complaints > MAX_COMPLAINTS)
            printf("%s: %u more\n", h.name, h.n_complaints - MAX_COMPLAINTS);
        if (h.n_complaints == 0)
            printf("%s: %zu callers, %zu executions, %zu forgettings: every rule kept\n", h.name,
                   h.n_caller_lines, h.n_exec_lines, h.n_forgettings);
        failed = failed || h.n_complaints != 0;
        free(h.callers);
        free(h.execs);
        free(h.forgettings);
        free(h.leavers);
        free((void *)h.by_leader);
        free((void *)h.by_key);
    }
    return failed;
}
