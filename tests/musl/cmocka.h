/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests use of cmocka, for a C library that Debian has no cmocka for.  As they have it
 * (RUN_TESTS): the first assertion that fails says where it stands and aborts.  Prints TAP.
 */
#ifndef MUSL_CMOCKA_H
#define MUSL_CMOCKA_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(f) ((struct CMUnitTest){#f, f})
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cmocka_run_all(tests, sizeof(tests) / sizeof((tests)[0]))

static inline int cmocka_run_all(const struct CMUnitTest *tests, size_t n)
{
    printf("1..%zu\n", n);
    for (size_t i = 0; i < n; i++) {
        void *state = NULL;
        fflush(NULL); /* a child must not print it again */
        tests[i].run(&state);
        printf("ok %zu - %s\n", i + 1, tests[i].name);
    }
    return 0;
}

static inline _Noreturn void cmocka_fails(const char *file, int line, const char *what)
{
    fflush(NULL);
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define fail() cmocka_fails(__FILE__, __LINE__, "fail()")
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), cmocka_fails(__FILE__, __LINE__, "failed"))
#define skip() return

#define ASSERT_TRUE(condition, what)                                                               \
    ((condition) ? (void)0 : cmocka_fails(__FILE__, __LINE__, what))
#define assert_true(c) ASSERT_TRUE(c, #c)
#define assert_false(c) ASSERT_TRUE(!(c), "not: " #c)
#define assert_null(p) ASSERT_TRUE((p) == NULL, #p " == NULL")
#define assert_non_null(p) ASSERT_TRUE((p) != NULL, #p " != NULL")
#define assert_ptr_equal(a, b) ASSERT_TRUE((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_ptr_not_equal(a, b) ASSERT_TRUE((const void *)(a) != (const void *)(b), #a " != " #b)
#define assert_string_equal(a, b) ASSERT_TRUE(strcmp(a, b) == 0, #a " is " #b)
#define assert_string_not_equal(a, b) ASSERT_TRUE(strcmp(a, b) != 0, #a " is not " #b)
#define assert_memory_equal(a, b, n) ASSERT_TRUE(memcmp(a, b, n) == 0, #a " has the bytes of " #b)
#define assert_int_equal(a, b)                                                                     \
    cmocka_compare((uintmax_t)(a), (uintmax_t)(b), 1, __FILE__, __LINE__, #a " == " #b)
#define assert_int_not_equal(a, b)                                                                 \
    cmocka_compare((uintmax_t)(a), (uintmax_t)(b), 0, __FILE__, __LINE__, #a " != " #b)
#define assert_in_range(n, low, high)                                                              \
    ASSERT_TRUE((uintmax_t)(n) - (uintmax_t)(low) <= (uintmax_t)(high) - (uintmax_t)(low),         \
                #n " is in " #low ".." #high)

static inline void cmocka_compare(uintmax_t a, uintmax_t b, int equal, const char *file, int line,
                                  const char *what)
{
    if ((a == b) != equal) {
        fprintf(stderr, "%jd, %jd: ", (intmax_t)a, (intmax_t)b);
        cmocka_fails(file, line, what);
    }
}

#endif
