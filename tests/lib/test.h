/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test.h - what every test program needs, whether it sees src/ or only
 * <singleflight.h>: cmocka, waits, moments, threads, forked children.
 *
 * Nothing here sleeps for a time: a test waits for a condition, and a wait
 * that never ends is ended by the time limit of the make rule.  A failed
 * assertion aborts the program at once, from whichever thread, because the
 * test's other threads may still be using its stack.
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "random.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Polls until the condition holds. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        while (!(condition))                                                                       \
            sched_yield();                                                                         \
    } while (0)

#define RUN_TESTS(tests)                                                                           \
    (setenv("CMOCKA_TEST_ABORT", "1", 1), cmocka_run_group_tests(tests, NULL, NULL))

/* ----------------------------------------------------------------- rounds */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Set for programs that an emulator runs in user mode: see tests/arm64/arm64.mk. */
#ifndef EMULATED
#define EMULATED 0
#endif

/* Not set for musl, which has no backtraces, and whose threads end without unwinding their stacks.
 */
#ifdef __GLIBC__
#define GLIBC 1
#else
#define GLIBC 0
#endif

/*
 * How often something is done: few times where everything takes longer, and an
 * n-th of that with SFLIGHT_TEST_SLOW=n in the environment.
 */
static inline int rounds(int all, int few)
{
    const char *slow = getenv("SFLIGHT_TEST_SLOW");
    int n = slow != NULL ? atoi(slow) : 0;
    if (n > 0)
        return few > n ? few / n : 1;
    return SANITIZED || EMULATED ? few : all;
}

/* ------------------------------------------------------------------- time */

static const struct timespec in_the_past = {.tv_sec = 0, .tv_nsec = 0};

static inline struct timespec deadline_in_ns(int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t sum = t.tv_nsec + ns;
    t.tv_sec += sum / 1000000000;
    t.tv_nsec = sum % 1000000000;
    return t;
}

/* Nobody waits that long. */
static inline struct timespec deadline_in_an_hour(void)
{
    return deadline_in_ns(INT64_C(3600) * 1000000000);
}

static inline bool has_passed(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* ---------------------------------------------------------------- threads */

static inline pthread_t thread_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, arg), 0);
    return thread;
}

static inline void *thread_join(pthread_t thread)
{
    void *ret;
    assert_int_equal(pthread_join(thread, &ret), 0);
    return ret;
}

static inline void threads_start(pthread_t *threads, size_t n, void *(*run)(void *), void *arg)
{
    for (size_t i = 0; i < n; i++)
        threads[i] = thread_start(run, arg);
}

static inline void threads_join(const pthread_t *threads, size_t n)
{
    for (size_t i = 0; i < n; i++)
        thread_join(threads[i]);
}

/* ----------------------------------------------------------------- memory */

/*
 * What /proc/self/status says of this process in KiB: "VmRSS:", or its peak "VmHWM:".  Not as
 * getrusage() has the peak, which is that of whoever called exec(), too.
 */
static inline long memory_kib(const char *field)
{
    char line[128];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtol(line + strlen(field), NULL, 10);
    fclose(f);
    assert_true(kib > 0);
    return kib;
}

/* --------------------------------------------------------------- children */

static inline pid_t fork_child(void)
{
    fflush(NULL); /* exit() in the child would print it again */
    pid_t pid = fork();
    assert_true(pid >= 0);
    return pid;
}

static inline void assert_child_succeeds(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* run() must abort its process; what it says before that. */
static inline void last_words(void (*run)(void), char *text, size_t size)
{
    size_t n = 0;
    ssize_t got;
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(fds[1]);
    while (n < size - 1 && (got = read(fds[0], text + n, size - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    text[n] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* The same, and says so, among other things. */
static inline void assert_aborts(void (*run)(void), const char *says)
{
    char text[20000];
    last_words(run, text, sizeof text);
    assert_non_null(strstr(text, says));
}

#endif
