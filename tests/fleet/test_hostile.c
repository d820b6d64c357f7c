/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An engine that answers what no engine answers: no crash, no endless wait, bounded memory; callers
 * fly alone.  The server here is a thread of the test: it greets as Redis does, and then says to
 * each command what the test has chosen.
 */
#include "fleet_test.h"

#include <poll.h>
#include <sys/un.h>

struct hostile {
    char path[64], address[80];
    int listener, stop[2];
    pthread_t thread;
    const char *answer; /* to EVAL */
    size_t answer_len;
    const char *push; /* sent to the inbox once it has subscribed, or NULL */
    size_t push_len;
    bool greets;  /* else it says the answer to everything */
    bool endless; /* sends the answer for ever */
    atomic_int evals, connections;
};

/* Everything, or as much as the other side wants. */
static void say(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

#define SAY(fd, text) say(fd, text, sizeof(text) - 1)

/* Answers the commands that stand in the bytes; that one comes in parts does not happen here. */
static void answer(struct hostile *h, int fd, char *bytes)
{
    char *at = bytes;
    while ((at = strchr(at, '*')) != NULL) {
        if (h->greets && strncmp(at, "*3\r\n$6\r\nCLIENT", 14) == 0) {
            SAY(fd, "+OK\r\n");
        } else if (h->greets && strncmp(at, "*2\r\n$9\r\nSUBSCRIBE", 17) == 0) {
            SAY(fd, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
            if (h->push != NULL)
                say(fd, h->push, h->push_len);
        } else if (strstr(at, "EVAL") != NULL || !h->greets) {
            atomic_fetch_add(&h->evals, 1);
            do
                say(fd, h->answer, h->answer_len);
            while (h->endless && poll(&(struct pollfd){.fd = fd}, 1, 0) == 0);
            return;
        }
        at++;
    }
}

static void *hostile_main(void *arg)
{
    struct hostile *h = arg;
    struct pollfd fds[64] = {{.fd = h->stop[0], .events = POLLIN},
                             {.fd = h->listener, .events = POLLIN}};
    nfds_t n = 2;
    static char bytes[1 << 16];
    for (;;) {
        poll(fds, n, -1);
        if (fds[0].revents != 0)
            break;
        if (fds[1].revents != 0 && n < LENGTH(fds)) {
            fds[n++] = (struct pollfd){.fd = accept(h->listener, NULL, NULL), .events = POLLIN};
            atomic_fetch_add(&h->connections, 1);
        }
        for (nfds_t i = 2; i < n; i++) {
            if (fds[i].revents == 0)
                continue;
            ssize_t got = read(fds[i].fd, bytes, sizeof bytes - 1);
            if (got <= 0) {
                close(fds[i].fd);
                fds[i--] = fds[--n];
                continue;
            }
            bytes[got] = '\0';
            fds[i].revents = 0;
            answer(h, fds[i].fd, bytes);
        }
    }
    while (n > 2)
        close(fds[--n].fd);
    return NULL;
}

static void hostile_start(struct hostile *h, const char *answer_text, size_t len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    *h = (struct hostile){.answer = answer_text, .answer_len = len, .greets = true};
    snprintf(h->path, sizeof h->path, "/tmp/sf-hostile-%ld", (long)getpid());
    snprintf(h->address, sizeof h->address, "unix:%s", h->path);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", h->path);
    unlink(h->path);
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(h->listener, 64), 0);
    assert_int_equal(pipe(h->stop), 0);
}

static sflight_fleet *hostile_fleet(struct hostile *h)
{
    sflight_fleet_options o;
    h->thread = thread_start(hostile_main, h);
    sflight_fleet_options_init(&o);
    o.name = "hostile";
    o.address = h->address;
    o.engine_timeout_ms = 50;
    o.lease_ms = 100;
    o.max_age_ms = 100;
    o.max_value = 1000;
    return fleet_create(&o);
}

static void hostile_stop(struct hostile *h)
{
    assert_int_equal(write(h->stop[1], "x", 1), 1);
    thread_join(h->thread);
    close(h->stop[0]);
    close(h->stop[1]);
    close(h->listener);
    unlink(h->path);
}

/* Some calls; each must end, with the result of a run here. */
static void calls_fly_alone(sflight_fleet *f)
{
    for (int i = 0; i < 5; i++) {
        struct fleet_work w = {.open = true, .size = 8, .status = 5};
        sflight_result r;
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        assert_int_equal(r.status, 5);
        assert_true(r.leader);
        sflight_result_release(&r);
    }
    sflight_fleet_counters c = fleet_counters(f);
    assert_int_equal(fleet_ended_calls(&c), 5);
}

#define TOKEN "0123456789abcdef0123456789abcdef"
#define A(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct {
    const char *bytes;
    size_t len;
} answers[] = {
    A("?"),
    A("\0\0\0\0"),
    A("HTTP/1.1 400 Bad Request\r\n\r\n"),
    A("*-7\r\n"),
    A("$-7\r\n"),
    A("*1000000000\r\n"),
    A("*2147483647\r\n"),
    A("*99999999999999999999\r\n"),
    A("$1000000000\r\n"),
    A("$99999999999999999999\r\n"),
    A(":99999999999999999999999\r\n"),
    A(":1\r\n"),
    A("+OK\r\n"),
    A("$-1\r\n"),
    A("*-1\r\n"),
    A("*0\r\n"),
    A("*1\r\n$1\r\nX\r\n"),
    A("*1\r\n:1\r\n"),
    A("*2\r\n$1\r\nL\r\n$1\r\nL\r\n"),
    A("*2\r\n$1\r\nV\r\n$3\r\nSF1\r\n"),
    A("*2\r\n$1\r\nV\r\n:1\r\n"),
    A("*3\r\n$1\r\nW\r\n$3\r\nabc\r\n:1\r\n"),
    A("*3\r\n$1\r\nW\r\n$32\r\n" TOKEN "\r\n$1\r\n1\r\n"),
    A("*3\r\n$1\r\nW\r\n$32\r\n" TOKEN "\r\n:-5\r\n"),
    A("*3\r\n$1\r\nW\r\n$32\r\n" TOKEN "\r\n:9223372036854775807\r\n"),
    A("*3\r\n$1\r\nW\r\n:1\r\n:1\r\n"),
    A("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
    A("*4\r\n*4\r\n*4\r\n*4\r\n:1\r\n"),
    A("*2\r\n*1\r\n:1\r\n:1\r\n"),
    A("*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
    A("-\r\n"),
    A("-ERR\r\n"),
    A("-READONLY no\r\n"),
    A("-LOADING no\r\n"),
    A("-MASTERDOWN no\r\n"),
    A("-MOVED 1 127.0.0.1:1\r\n"),
    A("-NOAUTH no\r\n"),
    A("*1\r\n$1\r\nL"),
    A(""),
    A(":1\r\n:1\r\n:1\r\n:1\r\n"),
    A("_\r\n"),
    A("%1\r\n+a\r\n+b\r\n"),
    A("#t\r\n"),
};

static void answers_that_make_no_sense(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(answers); i++) {
        struct hostile h;
        hostile_start(&h, answers[i].bytes, answers[i].len);
        sflight_fleet *f = hostile_fleet(&h);
        calls_fly_alone(f);
        assert_int_equal(FLEET_COUNT(f, led), 0);
        /* What is still to be told waits for its time-outs. */
        fleet_free(f);
        hostile_stop(&h);
    }
}

static void greetings_that_make_no_sense(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(answers); i++) {
        struct hostile h;
        hostile_start(&h, answers[i].bytes, answers[i].len);
        h.greets = false;
        sflight_fleet *f = hostile_fleet(&h);
        calls_fly_alone(f);
        fleet_free(f);
        hostile_stop(&h);
    }
}

/* A reply that never ends is cut off: memory stays bounded. */
static void an_answer_without_end(void **state)
{
    static const struct {
        const char *begin;
        size_t len;
    } ways[] = {A("$1000000000\r\n"), A("*16\r\n$65521\r\n"), A("aaaaaaaaaaaaaaaa"), A("*1\r\n"),
                A("+aaaaaaaaaaaaaaaaaa")};
    static char chunk[1 << 16];
    (void)state;
    for (size_t i = 0; i < LENGTH(ways); i++) {
        struct hostile h;
        long before;
        memset(chunk, 'a', sizeof chunk);
        memcpy(chunk, ways[i].begin, ways[i].len);
        if (i == 1) /* an array in an array ..., of strings that are allowed each by itself */
            memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
        hostile_start(&h, chunk, sizeof chunk);
        h.endless = true;
        before = memory_kib("VmHWM:");
        sflight_fleet *f = hostile_fleet(&h);
        calls_fly_alone(f);
        /* The first two and the last are in form, but for their length. */
        while (i <= 1 || i == LENGTH(ways) - 1) {
            char error[160];
            if (strstr(sflight_fleet_last_error(f, error, sizeof error), "too long") != NULL)
                break;
            sched_yield();
        }
        fleet_free(f);
        hostile_stop(&h);
        if (!SANITIZED)
            assert_true(memory_kib("VmHWM:") - before < 16 * 1024);
    }
}

static const struct {
    const char *bytes;
    size_t len;
} pushes[] = {
    A("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nabc\r\n"),
    A("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$33\r\n" TOKEN "V\r\n"),
    A("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$32\r\n" TOKEN "\r\n"),
    A("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:5\r\n"),
    A("*3\r\n$7\r\nmassage\r\n$1\r\nc\r\n$1\r\nx\r\n"),
    A("*3\r\n:1\r\n:1\r\n:1\r\n"),
    A("*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
    A("-ERR\r\n"),
    A(":1\r\n"),
    A("\xFF"),
};

static void pushes_that_make_no_sense(void **state)
{
    static const char lead[] = "*1\r\n$1\r\nL\r\n";
    (void)state;
    for (size_t i = 0; i < LENGTH(pushes); i++) {
        struct hostile h;
        hostile_start(&h, lead, sizeof lead - 1);
        h.push = pushes[i].bytes;
        h.push_len = pushes[i].len;
        sflight_fleet *f = hostile_fleet(&h);
        calls_fly_alone(f); /* or leads, which is granted to everybody */
        fleet_free(f);
        hostile_stop(&h);
    }
}

/* Accepts, and says nothing: the first waits for the time-out, the others do not. */
static void an_engine_that_is_silent(void **state)
{
    struct hostile h;
    (void)state;
    hostile_start(&h, "", 0);
    h.greets = false;
    sflight_fleet *f = hostile_fleet(&h);
    calls_fly_alone(f);
    assert_int_equal(FLEET_COUNT(f, connected), 0);
    fleet_free(f);
    hostile_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_that_make_no_sense),
        cmocka_unit_test(greetings_that_make_no_sense),
        cmocka_unit_test(an_answer_without_end),
        cmocka_unit_test(pushes_that_make_no_sense),
        cmocka_unit_test(an_engine_that_is_silent),
    };
    return RUN_TESTS(tests);
}
