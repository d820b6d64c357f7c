/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A system that refuses: each answer that the kernel, or a sandbox in its place, may give to the
 * two system calls that can fail for users, a descriptor's and a thread's.  What comes back is a
 * documented code, which sflight_strerror() explains; nothing is lost, and all works again.
 *
 * Each refusal is met in a forked child, since a seccomp filter is for good.
 */
#include "../lib/event_test.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NO_FILTER = 77 };

/* From now on these system calls of this process fail with the error. */
static bool refuse(long first, long second, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)first, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)second, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {LENGTH(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void assert_explained(int rc)
{
    assert_true(rc < 0);
    assert_string_not_equal(sflight_strerror(rc), sflight_strerror(-99999));
}

/* Runs check(error, expected) in a child that has the filter; false if there can be none. */
static bool in_a_sandbox(long first, long second, int error, int expected,
                         void (*check)(int expected))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!refuse(first, second, error)) {
            printf("# no filter for system calls here: error %d is not looked at\n", error);
            fflush(stdout);
            _exit(NO_FILTER);
        }
        check(expected);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_FILTER)
        return false;
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void no_descriptor(int expected)
{
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    sflight_queue *q = (void *)1;
    errno = 5;
    assert_int_equal(sflight_queue_create(&q), expected);
    assert_null(q);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    for (int i = 0; i < 2; i++)
        assert_int_equal(sflight_future_fd(f), expected);
    assert_int_equal(errno, 5);
    assert_explained(expected);
    value_set(call, &tally, 7);
    sflight_complete(call, 0);
    sflight_result r;
    assert_int_equal(sflight_future_get(f, NULL, &r), 0); /* the future works on */
    assert_int_equal(((struct value *)r.value)->number, 7);
    sflight_result_release(&r);
    assert_int_equal(atomic_load(&tally.destroyed), 1);
    group_end(g);
}

static void no_thread(int expected)
{
    sflight_group *g = group_new(NULL);
    sflight_future *f = (void *)1;
    errno = 5;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sflight_start(g, "key", 3, must_not_run, NULL, &f), expected);
        assert_null(f);
        assert_key_usable(g, "key");
    }
    assert_int_equal(errno, 5);
    assert_explained(expected);
    group_end(g);
}

static void a_descriptor_is_refused(void **state)
{
    (void)state;
    const int errors[][2] = {
        {EMFILE, -EMFILE}, {ENFILE, -ENFILE}, {ENOMEM, -ENOMEM}, {EPERM, -EPERM},
        {ENOSYS, -ENOSYS}, {EACCES, -EPERM},  {ENODEV, -EPERM},  {EINVAL, -EPERM}, /* any other */
    };
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (!in_a_sandbox(SYS_eventfd2, SYS_eventfd2, errors[i][0], errors[i][1], no_descriptor))
            return;
}

static void a_thread_is_refused(void **state)
{
    (void)state;
    if (SANITIZED || HOOKED)
        return; /* the sanitizers' own threads; another way to start */
    const int errors[][2] = {
        {EAGAIN, -EAGAIN}, {EPERM, -EPERM}, {ENOSYS, -ENOSYS}, {EACCES, -EAGAIN}, {EINVAL, -EAGAIN},
    }; /* musl says EAGAIN for any */
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (!in_a_sandbox(SYS_clone, SYS_clone3, errors[i][0], GLIBC ? errors[i][1] : -EAGAIN,
                          no_thread))
            return;
}

/* Each code that is documented anywhere, and no other. */
static void every_code_is_explained(void **state)
{
    (void)state;
    const int codes[] = {0,        -EINVAL,    -ENOMEM,     -EAGAIN,         -ETIMEDOUT,
                         -EDEADLK, -ESHUTDOWN, -EBUSY,      -EMFILE,         -ENFILE,
                         -EPERM,   -ENOSYS,    -EOWNERDEAD, -ENOTRECOVERABLE};
    const char *none = sflight_strerror(-99999);
    for (int rc = -200; rc <= 200; rc++) {
        bool documented = false;
        for (size_t i = 0; i < LENGTH(codes); i++)
            documented |= codes[i] == rc;
        const char *line = sflight_strerror(rc);
        assert_non_null(line);
        assert_true(line[0] != '\0' && strchr(line, '\n') == NULL);
        assert_int_equal(documented, strcmp(line, none) != 0);
        for (size_t i = 0; documented && i < LENGTH(codes); i++)
            if (codes[i] != rc)
                assert_string_not_equal(line, sflight_strerror(codes[i]));
    }
    assert_string_equal(sflight_strerror(INT_MIN), none);
    assert_string_equal(sflight_strerror(INT_MAX), none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_refused),
        cmocka_unit_test(a_thread_is_refused),
        cmocka_unit_test(every_code_is_explained),
    };
    return RUN_TESTS(tests);
}
