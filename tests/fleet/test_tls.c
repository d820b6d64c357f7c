/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses of TLS, with an authority and certificates that the openssl command makes here: what
 * works, and for each thing that can be wrong what last_error says.  Nobody spins meanwhile: turns
 * of the engine thread are counted, the linker lets the functions below stand before the C
 * library's. Without hiredis_ssl there is no TLS, and most is skipped.
 */
#include "fleet_test.h"

#include <poll.h>

#if defined(__has_include)
#if __has_include(<hiredis/hiredis_ssl.h>) && __has_include(<openssl/ssl.h>)
#define HAS_TLS 1
#endif
#endif

static atomic_long turns, sockets;

int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    atomic_fetch_add(&turns, n == 3); /* the engine thread's */
    return __real_poll(fds, n, timeout);
}

int __wrap_socket(int domain, int type, int protocol)
{
    if (domain == AF_INET && (type & SOCK_NONBLOCK) != 0) { /* the engine thread's */
        assert_true((type & SOCK_CLOEXEC) != 0);
        atomic_fetch_add(&sockets, 1);
    }
    return __real_socket(domain, type, protocol);
}

/* What create says where there is no TLS, and with files that are none. */
static void create_refuses(const char *ca, const char *cert, const char *key)
{
    sflight_fleet_options o;
    sflight_fleet *f = (sflight_fleet *)&o;
    sflight_fleet_options_init(&o);
    o.name = "tls";
    o.address = "tls:localhost:1";
    o.ca_file = ca;
    o.cert_file = cert;
    o.key_file = key;
    assert_int_equal(sflight_fleet_create(&f, &o), -EINVAL);
    assert_null(f);
}

#ifndef HAS_TLS

static void is_refused(void **state)
{
    (void)state;
    create_refuses(NULL, NULL, NULL);
}

static void all_others(void **state)
{
    (void)state;
    /* Not skip(): for prove that is a failure. */
    print_message("# skipped: hiredis has no hiredis_ssl here, or there is no OpenSSL\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_refused),
        cmocka_unit_test(all_others),
    };
    return RUN_TESTS(tests);
}

#else

#include <openssl/err.h>

static struct server_process server;
static int tls_port;
static char pki[64];

/* ---------------------------------------------------------- certificates */

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    int at = snprintf(command, sizeof command, "cd %s && ( ", pki);
    va_list args;
    va_start(args, format);
    at += vsnprintf(command + at, sizeof command - (size_t)at, format, args);
    va_end(args);
    snprintf(command + at, sizeof command - (size_t)at, " ) >log 2>&1 || { cat log; exit 1; }");
    assert_int_equal(system(command), 0);
}

static void make_authority(const char *name)
{
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9999 "
          "-subj /CN=%s -keyout %s.key -out %s.pem",
          name, name, name);
}

/* names: of the extension subjectAltName. */
static void make_certificate(const char *ca, const char *name, const char *names, const char *dates)
{
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s "
          "-keyout %s.key -out req; echo subjectAltName=%s >ext; "
          "openssl x509 -req -in req -CA %s.pem -CAkey %s.key -CAcreateserial -extfile ext %s "
          "-out %s.pem",
          name, name, names, ca, ca, dates, name);
}

static const char *path(const char *file)
{
    static char paths[8][96];
    static unsigned n;
    char *p = paths[n++ % LENGTH(paths)];
    snprintf(p, sizeof paths[0], "%s/%s", pki, file);
    return p;
}

/* The server shows the certificate; clients: "yes", they need one, or "no". */
static void serve(const char *name, const char *clients)
{
    server_ask(&server,
               "CONFIG SET tls-cert-file %s/%s.pem tls-key-file %s/%s.key tls-ca-cert-file "
               "%s/ca.pem tls-auth-clients %s tls-port %d",
               pki, name, pki, name, pki, clients, tls_port);
}

static void set_up(void)
{
    strcpy(pki, "/tmp/sf-tls-XXXXXX");
    assert_non_null(mkdtemp(pki));
    make_authority("ca");
    make_authority("other");
    make_certificate("ca", "good", "DNS:localhost,IP:127.0.0.1", "-days 9999");
    make_certificate("ca", "elsewhere", "DNS:elsewhere.example,IP:127.0.0.2", "-days 9999");
    make_certificate("ca", "old", "DNS:localhost,IP:127.0.0.1",
                     "-not_before 20200101000000Z -not_after 20200102000000Z");
    make_certificate("ca", "client", "DNS:client", "-days 9999");
    make_certificate("other", "stranger", "DNS:client", "-days 9999");
    shell("openssl ec -in client.key -aes128 -passout pass:secret -out locked.key");
    server_new(&server, NULL);
    tls_port = free_port();
    serve("good", "no");
}

/* -------------------------------------------------------------- fleets */

/* name: NULL for one that fails, and is not waited for long. */
static sflight_fleet *fleet_at(const char *name, const char *host, int port, const char *ca,
                               const char *client)
{
    sflight_fleet_options o;
    char address[96], cert[32], key[32];
    snprintf(address, sizeof address, "tls:%s:%d", host, port);
    fleet_options(&o, &server, name != NULL ? name : "fails");
    if (name == NULL)
        o.engine_timeout_ms = 20;
    o.address = address;
    o.ca_file = path(ca);
    if (client != NULL) {
        snprintf(cert, sizeof cert, "%s.pem", client);
        snprintf(key, sizeof key, "%s.key", client);
        o.cert_file = path(cert);
        o.key_file = path(key);
    }
    return fleet_create(&o);
}

/* Says why, in these words; calls fly alone, and no more turns were made than sockets explain. */
static void fails(sflight_fleet *f, const char *words)
{
    struct fleet_work w = {.open = true, .size = 8};
    char error[200] = "";
    sflight_result r;
    long turns_before = atomic_load(&turns), sockets_before = atomic_load(&sockets);
    do {
        char next[200];
        sched_yield();
        sflight_fleet_last_error(f, next, sizeof next);
        if (strcmp(next, error) != 0)
            fprintf(stderr, "# %s\n", next);
        strcpy(error, next);
    } while (strstr(error, words) == NULL);
    assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
    assert_true(r.leader);
    sflight_result_release(&r);
    /* The words may be those of the messages' connection, before that of commands has failed. */
    assert_int_equal(FLEET_COUNT(f, alone_down) + FLEET_COUNT(f, alone_slow), 1);
    assert_int_equal(FLEET_COUNT(f, connected), 0);
    long n_turns = atomic_load(&turns) - turns_before;
    assert_true(n_turns <= 20 * (atomic_load(&sockets) - sockets_before + 4));
    fleet_free(f);
}

/* Leader and follower, and a value of many records of TLS. */
static void passes(sflight_fleet *a, sflight_fleet *b, size_t size)
{
    struct fleet_work w = {.size = size};
    struct fleet_caller leader, waiter;
    fleet_lead_and_wait(a, &leader, b, &waiter, &w);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
}

/* ---------------------------------------------------------------- works */

static void a_name_and_an_address(void **state)
{
    char why[200];
    (void)state;
    sflight_fleet *a = fleet_at("works", "localhost", tls_port, "ca.pem", NULL);
    sflight_fleet *b = fleet_at("works", "127.0.0.1", tls_port, "ca.pem", NULL);
    int rc = sflight_fleet_check(a, NULL, why, sizeof why);
    if (rc != 0)
        fprintf(stderr, "# %s\n", why);
    assert_int_equal(rc, 0);
    passes(a, b, 8);
    passes(a, b, 20000);
    passes(b, a, 1000000);
    assert_int_equal(FLEET_COUNT(a, reconnects) + FLEET_COUNT(b, reconnects), 0);
    fleet_free(a);
    fleet_free(b);
}

static void two_processes(void **state)
{
    struct fleet_work *w = shared_memory(sizeof *w);
    struct fleet_caller leader;
    (void)state;
    w->size = 100000;
    pid_t pid = fork_worker();
    if (pid == 0) {
        sflight_result r;
        sflight_fleet *mine = fleet_at("two", "localhost", tls_port, "ca.pem", NULL);
        assert_int_equal(sflight_fleet_check(mine, NULL, NULL, 0), 0);
        WAIT_UNTIL(atomic_load(&w->runs) == 1);
        assert_int_equal(fleet_do(mine, "k", fleet_must_not_run, NULL, &r), 0);
        assert_int_equal(run_of(&r), 1);
        sflight_result_release(&r);
        fleet_free(mine);
        _exit(0);
    }
    sflight_fleet *f = fleet_at("two", "localhost", tls_port, "ca.pem", NULL);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    fleet_caller_start(&leader, f, "k", fleet_work_fn, w, NULL);
    WAIT_UNTIL(server_ask(&server, "STRLEN sf:two{:k}") >= 64);
    atomic_store(&w->open, true);
    fleet_caller_got(&leader, w, 1);
    assert_child_succeeds(pid);
    fleet_free(f);
    munmap(w, sizeof *w);
}

static void a_client_certificate(void **state)
{
    (void)state;
    serve("good", "yes");
    sflight_fleet *f = fleet_at("client", "localhost", tls_port, "ca.pem", "client");
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    fleet_free(f);
    fails(fleet_at(NULL, "127.0.0.1", tls_port, "ca.pem", NULL), "certificate required");
    fails(fleet_at(NULL, "127.0.0.1", tls_port, "ca.pem", "stranger"), "unknown ca");
    serve("good", "no");
}

/* A server that comes back is connected to again. */
static void a_server_that_restarts(void **state)
{
    (void)state;
    sflight_fleet *f = fleet_at("again", "localhost", tls_port, "ca.pem", NULL);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    server_kill(&server);
    WAIT_UNTIL(FLEET_COUNT(f, connected) == 0);
    server_start(&server);
    serve("good", "no");
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_true(FLEET_COUNT(f, reconnects) >= 1);
    fleet_free(f);
}

static void leave_an_error(sflight_fleet_permit *permit, void *arg)
{
    _Atomic(sflight_fleet_permit *) *out = arg;
    ERR_raise(ERR_LIB_USER, 1); /* on the engine thread */
    atomic_store(out, permit);
}

/* What a program leaves in the engine thread's error queue is no error of the connection. */
static void errors_of_others(void **state)
{
    sflight_future *future;
    _Atomic(sflight_fleet_permit *) permit = NULL;
    sflight_result r;
    (void)state;
    sflight_fleet *f = fleet_at("errors", "localhost", tls_port, "ca.pem", NULL);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_int_equal(sflight_fleet_start(f, "k", 1, leave_an_error, &permit, &future), 0);
    WAIT_UNTIL(atomic_load(&permit) != NULL);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    sflight_fleet_complete(atomic_load(&permit), 0, NULL, 0, NULL, NULL);
    assert_int_equal(sflight_future_get(future, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(f, reconnects), 0);
    fleet_free(f);
}

/* A program ends while its connections are at work. */
static void an_exit(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(30, 8); i++) {
        pid_t pid = fork_worker();
        if (pid == 0) {
            struct fleet_work w = {.size = 8};
            struct fleet_caller callers[2];
            char name[32]; /* the leases of those that have ended stay */
            snprintf(name, sizeof name, "exit.%d", i);
            sflight_fleet *a = fleet_at(name, "127.0.0.1", tls_port, "ca.pem", NULL);
            sflight_fleet *b = fleet_at(name, "localhost", tls_port, "ca.pem", NULL);
            fleet_caller_start(&callers[0], a, "k", fleet_work_fn, &w, NULL);
            fleet_caller_start(&callers[1], b, "other", fleet_work_fn, &w, NULL);
            WAIT_UNTIL(i % 2 == 0 || atomic_load(&w.runs) == 2);
            atomic_store(&w.open, true);
            exit(0);
        }
        assert_child_succeeds(pid);
    }
}

/* ---------------------------------------------------------------- fails */

static void files_that_are_none(void **state)
{
    (void)state;
    create_refuses("/nowhere", NULL, NULL);
    create_refuses(path("log"), NULL, NULL);
    create_refuses(path("ca.pem"), path("client.pem"), NULL);
    create_refuses(path("ca.pem"), NULL, path("client.key"));
    create_refuses(path("ca.pem"), path("client.pem"), path("good.key"));
    create_refuses(path("ca.pem"), path("client.pem"), path("locked.key"));
    create_refuses(path("ca.pem"), path("client.key"), path("client.key"));
    assert_int_equal(ERR_peek_error(), 0);
}

static void certificates(void **state)
{
    (void)state;
    fails(fleet_at(NULL, "localhost", tls_port, "other.pem", NULL), "TLS: certificate: ");
    serve("elsewhere", "no");
    fails(fleet_at(NULL, "localhost", tls_port, "ca.pem", NULL),
          "TLS: certificate: hostname mismatch");
    fails(fleet_at(NULL, "127.0.0.1", tls_port, "ca.pem", NULL),
          "TLS: certificate: IP address mismatch");
    serve("old", "no");
    fails(fleet_at(NULL, "localhost", tls_port, "ca.pem", NULL),
          "TLS: certificate: certificate has expired");
    serve("good", "no");
}

static void nobody_there(void **state)
{
    (void)state;
    fails(fleet_at(NULL, "127.0.0.1", free_port(), "ca.pem", NULL), "Connection refused");
}

/* ------------------------------------------------------------- half-way */

/* Passes bytes on to the server, and so many back; then it closes, or is silent. */
struct relay {
    int listener, port, stop[2];
    size_t bytes;
    bool closes;
    const char *says; /* instead of passing anything on, or NULL */
    pthread_t thread;
};

static int server_socket(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr = {htonl(INADDR_LOOPBACK)},
                            .sin_port = htons((uint16_t)tls_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void relay_one(struct relay *r, int client)
{
    int to_server = r->says == NULL ? server_socket() : -1;
    size_t left = r->bytes;
    char bytes[4096];
    for (;;) {
        struct pollfd fds[] = {{.fd = r->stop[0], .events = POLLIN},
                               {.fd = client, .events = POLLIN},
                               {.fd = left > 0 ? to_server : -1, .events = POLLIN},
                               {.fd = -1}};
        __real_poll(fds, LENGTH(fds), -1);
        if (fds[0].revents != 0)
            break;
        if (fds[1].revents != 0) {
            ssize_t n = read(client, bytes, sizeof bytes);
            if (n <= 0)
                break;
            if (r->says != NULL)
                (void)!send(client, r->says, strlen(r->says), MSG_NOSIGNAL);
            else
                (void)!send(to_server, bytes, (size_t)n, MSG_NOSIGNAL);
        }
        if (fds[2].revents != 0) {
            ssize_t n = read(to_server, bytes, left < sizeof bytes ? left : sizeof bytes);
            if (n <= 0)
                break;
            (void)!send(client, bytes, (size_t)n, MSG_NOSIGNAL);
            left -= (size_t)n;
        }
        if (left == 0 && r->closes)
            break;
    }
    if (to_server >= 0)
        close(to_server);
    close(client);
}

static void *relay_client(void *arg)
{
    struct relay *r = ((void **)arg)[0];
    int client = (int)(intptr_t)((void **)arg)[1];
    free(arg);
    relay_one(r, client);
    return NULL;
}

static void *relay_main(void *arg)
{
    struct relay *r = arg;
    pthread_t threads[64];
    size_t n = 0;
    for (;;) {
        struct pollfd fds[] = {{.fd = r->stop[0], .events = POLLIN},
                               {.fd = r->listener, .events = POLLIN}};
        __real_poll(fds, LENGTH(fds), -1);
        if (fds[0].revents != 0)
            break;
        if (n == LENGTH(threads))
            thread_join(threads[--n]); /* the last of them: all before it have been given up too */
        void **both = malloc(2 * sizeof *both);
        both[0] = r;
        both[1] = (void *)(intptr_t)accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
        threads[n++] = thread_start(relay_client, both);
    }
    threads_join(threads, n);
    return NULL;
}

static void relay_fails(struct relay *r, const char *words)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(listen(r->listener, 64), 0);
    assert_int_equal(pipe(r->stop), 0);
    r->thread = thread_start(relay_main, r);
    fails(fleet_at(NULL, "127.0.0.1", ntohs(a.sin_port), "ca.pem", NULL), words);
    assert_int_equal(write(r->stop[1], "x", 1), 1);
    thread_join(r->thread);
    close(r->stop[0]);
    close(r->stop[1]);
    close(r->listener);
}

static void a_handshake_that_is_cut(void **state)
{
    static const size_t bytes[] = {1, 5, 6, 100, 127, 300, 600};
    (void)state;
    for (size_t i = 0; i < LENGTH(bytes); i++)
        relay_fails(&(struct relay){.bytes = bytes[i], .closes = true}, "TLS: ");
}

static void a_handshake_that_stands_still(void **state)
{
    (void)state;
    relay_fails(&(struct relay){.bytes = 1}, "TLS: no answer in the handshake");
    relay_fails(&(struct relay){.bytes = 300}, "TLS: no answer in the handshake");
}

static void a_server_without_tls(void **state)
{
    (void)state;
    relay_fails(&(struct relay){.bytes = 1, .says = "-ERR Protocol error\r\n"}, "TLS: ");
    /* Its own: it may wait for the end of what it takes for a line. */
    fails(fleet_at(NULL, "127.0.0.1", server.port, "ca.pem", NULL), "TLS: ");
}

static void a_server_that_is_frozen(void **state)
{
    (void)state;
    server_freeze(&server);
    fails(fleet_at(NULL, "localhost", tls_port, "ca.pem", NULL), "TLS: no answer in the handshake");
    server_thaw(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_and_an_address),
        cmocka_unit_test(two_processes),
        cmocka_unit_test(a_client_certificate),
        cmocka_unit_test(a_server_that_restarts),
        cmocka_unit_test(errors_of_others),
        cmocka_unit_test(an_exit),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(certificates),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(a_handshake_that_is_cut),
        cmocka_unit_test(a_handshake_that_stands_still),
        cmocka_unit_test(a_server_without_tls),
        cmocka_unit_test(a_server_that_is_frozen),
    };
    set_up();
    int failed = RUN_TESTS(tests);
    server_free(&server);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", pki);
    assert_int_equal(system(command), 0);
    return failed;
}

#endif
