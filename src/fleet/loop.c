/* SPDX-License-Identifier: BSD-2-Clause */
/* Both connections report here, inside link_run() and link_flush(), and nowhere else. */
#include "loop.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

/* ------------------------------------------------- the link for commands */

static void commands_up(void *ctx)
{
    struct pilot *p = ctx;

    p->state.up = true;
    p->state.shut = false;
    pilot_tell_all(p, flight_link_up);
    pilot_send_others(p);
}

static void commands_down(void *ctx, const char *why)
{
    struct pilot *p = ctx;

    pilot_note_error(p, why);
    p->failure = NULL;
    if (!p->state.up) {
        p->state.shut = true; /* it cannot be made */
        return;
    }
    p->state.up = false;
    pilot_lose_answers(p);
    pilot_tell_all(p, flight_link_down);
}

/* The engine cannot be used now, though it answers. */
static bool is_useless(const struct link_reply *r)
{
    static const char *const codes[] = {"READONLY ", "LOADING ", "MASTERDOWN "};

    if (r->value.type != LINK_ERROR)
        return false;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        /* At the begin; older engines put a script's errors into one of their own. */
        const char *at = strstr(r->value.bytes, codes[i]);
        if (at != NULL && (at == r->value.bytes || at[-1] == '-'))
            return true;
    }
    return false;
}

static void command_answered(void *ctx, const struct link_reply *r)
{
    struct pilot *p = ctx;

    if (p->n_sent == 0) {
        count_add(&p->counts, COUNT_bad_frames, 1);
        link_fail(&p->commands, "an answer to nothing", p->now_ns, pilot_random(p));
        return;
    }
    if (is_useless(r)) {
        link_fail(&p->commands, r->value.bytes, p->now_ns, pilot_random(p));
        return;
    }
    pilot_answered(p, r);
}

/* ------------------------------------------------------------- the inbox */

static void inbox_up(void *ctx)
{
    struct pilot *p = ctx;

    p->state.inbox = true;
    p->is_pinged = false;
    p->ping_ns = p->now_ns + p->patience_ns;
    pilot_tell_all(p, flight_inbox_up);
}

static void inbox_down(void *ctx, const char *why)
{
    struct pilot *p = ctx;

    pilot_note_error(p, why);
    p->state.inbox = false;
}

static bool says(const struct link_value *v, const char *text)
{
    return v->type == LINK_STRING && strcmp(v->bytes, text) == 0;
}

static void inbox_answered(void *ctx, const struct link_reply *r)
{
    struct pilot *p = ctx;

    if (r->value.type == LINK_ARRAY && r->n_elements == 3 && says(&r->elements[0], "message") &&
        r->elements[2].type == LINK_STRING) {
        pilot_pushed(p, &r->elements[2]);
        return;
    }
    if (r->value.type == LINK_ARRAY && r->n_elements == 2 && says(&r->elements[0], "pong")) {
        p->is_pinged = false;
        return;
    }
    count_add(&p->counts, COUNT_bad_frames, 1);
    link_fail(&p->inbox, r->value.type == LINK_ERROR ? r->value.bytes : "no message", p->now_ns,
              pilot_random(p));
}

/* Only a new connection gets anywhere. */
static void give_up_answers(struct pilot *p)
{
    if (p->n_sent > 0 && p->now_ns >= p->answer_due_ns)
        link_fail(&p->commands, "no answer", p->now_ns, pilot_random(p));
}

/* While claims wait for messages: is somebody there who would send them? */
static void ping(struct pilot *p)
{
    static const struct link_arg args[] = {{"PING", 4}};

    if (!p->state.inbox || p->claims.n == 0 || p->now_ns < p->ping_ns)
        return;
    p->ping_ns = p->now_ns + p->patience_ns;
    if (p->is_pinged || !link_send(&p->inbox, 1, args)) {
        link_fail(&p->inbox, "no answer to PING", p->now_ns, pilot_random(p));
        return;
    }
    p->is_pinged = true;
}

/* ------------------------------------------------------------------- run */

static void earlier(uint64_t *at, uint64_t than)
{
    if (than < *at)
        *at = than;
}

/* Milliseconds for poll(), rounded up. */
static int timeout_ms(struct pilot *p)
{
    uint64_t at = LINK_NEVER;
    const struct claim *c = claims_soonest(&p->claims);

    if (c != NULL)
        earlier(&at, c->flight.timer_ns);
    earlier(&at, link_timer_ns(&p->commands));
    earlier(&at, link_timer_ns(&p->inbox));
    if (p->state.inbox && p->claims.n > 0)
        earlier(&at, p->ping_ns);
    if (p->n_sent > 0)
        earlier(&at, p->answer_due_ns);
    if (at == LINK_NEVER)
        return -1;
    uint64_t moment = pilot_clock_ns();
    if (at <= moment)
        return 0;
    uint64_t ms = (at - moment + MS_NS - 1) / MS_NS;
    return ms > 3600000 ? 3600000 : (int)ms;
}

static void count_connections(struct pilot *p)
{
    size_t max_reply = atomic_load_explicit(&p->max_reply, memory_order_relaxed);

    p->commands.max_reply = max_reply;
    p->inbox.max_reply = max_reply;
    for (; p->n_connections < p->commands.n_connections; p->n_connections++)
        if (p->n_connections > 0)
            count_add(&p->counts, COUNT_reconnects, 1);
    for (; p->n_inbox_connections < p->inbox.n_connections; p->n_inbox_connections++)
        if (p->n_inbox_connections > 0)
            count_add(&p->counts, COUNT_inbox_reconnects, 1);
    count_set(&p->counts, COUNT_connected, p->state.up && !p->state.shut);
    count_set(&p->counts, COUNT_inbox_ready, p->state.inbox);
    atomic_store_explicit(&p->breaker,
                          !p->state.shut ? FLIGHT_UNTOLD
                          : p->state.up  ? FLIGHT_ALONE_SLOW
                                         : FLIGHT_ALONE_DOWN,
                          memory_order_relaxed);
}

static void flush(struct pilot *p)
{
    if (p->failure != NULL)
        link_fail(&p->commands, p->failure, p->now_ns, pilot_random(p));
    link_flush(&p->commands, p->now_ns, pilot_random(p));
    link_flush(&p->inbox, p->now_ns, pilot_random(p));
}

void loop_run(struct pilot *p, int wake_fd)
{
    enum { READY = POLLIN | POLLERR | POLLHUP };
    struct pollfd fds[3] = {{.fd = wake_fd, .events = POLLIN}};

    p->now_ns = pilot_clock_ns();
    flush(p);
    count_connections(p);
    fds[1].fd = link_fd(&p->commands, &fds[1].events);
    fds[2].fd = link_fd(&p->inbox, &fds[2].events);
    (void)poll(fds, 3, timeout_ms(p));
    p->now_ns = pilot_clock_ns();
    link_run(&p->commands, (fds[1].revents & READY) != 0, p->now_ns, pilot_random(p));
    link_run(&p->inbox, (fds[2].revents & READY) != 0, p->now_ns, pilot_random(p));
    pilot_run_timers(p);
    give_up_answers(p);
    ping(p);
    count_connections(p);
}

/* ----------------------------------------------------------------- others */

bool loop_init(struct pilot *p, const struct link_options *o, const char *prefix, uint64_t process,
               uint32_t patience_ms)
{
    pthread_mutex_init(&p->error_lock, NULL);
    if (!link_init(&p->commands, o) || !link_init(&p->inbox, o))
        return false;
    p->process = process;
    p->prefix = prefix;
    p->patience_ns = patience_ms * MS_NS;
    p->channel_len = names_inbox(p->channel, prefix, process);
    p->channel[p->channel_len] = '\0';
    if (getrandom(&p->random, sizeof(p->random), 0) != (ssize_t)sizeof(p->random))
        p->random = process;
    p->commands.on_up = commands_up;
    p->commands.on_down = commands_down;
    p->commands.on_reply = command_answered;
    p->commands.ctx = p;
    p->inbox.on_up = inbox_up;
    p->inbox.on_down = inbox_down;
    p->inbox.on_reply = inbox_answered;
    p->inbox.ctx = p;
    p->inbox.channel = p->channel;
    p->inbox.channel_len = p->channel_len;
    return claims_init(&p->claims);
}

void loop_free(struct pilot *p)
{
    link_free(&p->commands);
    link_free(&p->inbox);
    claims_free(&p->claims);
    free(p->sent);
    pthread_mutex_destroy(&p->error_lock);
}

void loop_allow_reply(struct pilot *p, size_t bytes)
{
    if (bytes > atomic_load(&p->max_reply))
        atomic_store(&p->max_reply, bytes);
}

int loop_breaker(struct pilot *p)
{
    return atomic_load_explicit(&p->breaker, memory_order_relaxed);
}

void loop_last_error(struct pilot *p, char *buf, size_t n)
{
    pthread_mutex_lock(&p->error_lock);
    snprintf(buf, n, "%s", p->last_error);
    pthread_mutex_unlock(&p->error_lock);
}

void loop_close_in_child(struct pilot *p)
{
    struct link *links[] = {&p->commands, &p->inbox};

    for (size_t i = 0; i < 2; i++) {
        int fd = atomic_load(&links[i]->fd_to_close);
        if (fd >= 0)
            close(fd);
    }
}
