/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames, names and tokens: what is written is read, and what is not in form is refused. */
#include "../../src/fleet/frame.h"
#include "../../src/fleet/names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ----------------------------------------------------------------------------------- frames */

static void test_frame_is_read_as_written(void **state)
{
    static const int32_t statuses[] = {0, 1, -1, 200, -EHOSTUNREACH, INT32_MAX, INT32_MIN};
    unsigned char bytes[FRAME_HEAD_LEN + 5];

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        for (size_t len = 0; len <= 5; len++) {
            struct frame f;
            frame_write_head(bytes, FRAME_VALUE, statuses[i]);
            memcpy(bytes + FRAME_HEAD_LEN, "\0\nab\377", len);
            assert_int_equal(frame_read(&f, bytes, FRAME_HEAD_LEN + len, 5), 0);
            assert_int_equal(f.kind, FRAME_VALUE);
            assert_int_equal(f.status, statuses[i]);
            assert_ptr_equal(f.value, bytes + FRAME_HEAD_LEN);
            assert_int_equal(f.value_len, len);
        }
    }
}

/* The bytes are the same on every machine. */
static void test_frame_bytes(void **state)
{
    unsigned char bytes[FRAME_HEAD_LEN];

    (void)state;
    frame_write_head(bytes, FRAME_VALUE, 0x01020384);
    assert_memory_equal(bytes, "SF1V\x84\x03\x02\x01", FRAME_HEAD_LEN);
    frame_write_head(bytes, FRAME_TOO_LARGE, -2);
    assert_memory_equal(bytes, "SF1T\xfe\xff\xff\xff", FRAME_HEAD_LEN);
}

static void test_frame_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int rc;
    } cases[] = {
        {"", 0, -EBADMSG},
        {"SF1V\0\0\0", 7, -EBADMSG},
        {"SF2V\0\0\0\0", 8, -EBADMSG},
        {"sF1V\0\0\0\0", 8, -EBADMSG},
        {"SF1X\0\0\0\0", 8, -EBADMSG},
        {"SF1\0\0\0\0\0", 8, -EBADMSG},
        {"SF1T\0\0\0\0a", 9, -EBADMSG},
        {"SF1V\0\0\0\0abcd", 12, -EMSGSIZE},
        {"SF1T\0\0\0\0", 8, 0},
        {"SF1V\0\0\0\0abc", 11, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct frame f = {.status = 77};
        /* On the heap, so that reading too far is noticed. */
        unsigned char *bytes = malloc(cases[i].len == 0 ? 1 : cases[i].len);
        assert_non_null(bytes);
        memcpy(bytes, cases[i].bytes, cases[i].len);
        assert_int_equal(frame_read(&f, bytes, cases[i].len, 3), cases[i].rc);
        assert_int_equal(f.status, cases[i].rc == 0 ? 0 : 77);
        free(bytes);
    }
}

/* ------------------------------------------------------------------------------------- names */

static void test_names_are_checked(void **state)
{
    char longest[NAME_MAX_LEN + 2];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[NAME_MAX_LEN] = '\0';
    assert_int_equal(names_check("pages.v3"), 0);
    assert_int_equal(names_check("AZaz09._:-"), 0);
    assert_int_equal(names_check(longest), 0);
    longest[NAME_MAX_LEN] = 'a';
    longest[NAME_MAX_LEN + 1] = '\0';
    assert_int_equal(names_check(longest), -EINVAL);
    assert_int_equal(names_check(NULL), -EINVAL);
    assert_int_equal(names_check(""), -EINVAL);
    for (int c = 1; c < 256; c++) {
        char s[] = {'a', (char)c, 'b', '\0'};
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       strchr("._:-", c) != NULL;
        assert_int_equal(names_check(s), allowed ? 0 : -EINVAL);
    }
}

static void test_names_of_a_key(void **state)
{
    char out[RESULT_MAX_LEN];
    const char token[] = "0123456789abcdef0000000000000100";

    (void)state;
    assert_int_equal(names_slot(out, "sf:", "pages", "/p/1", 4), 15);
    assert_memory_equal(out, "sf:pages{:/p/1}", 15);
    assert_int_equal(names_result(out, 15, token), 47);
    assert_memory_equal(out, "sf:pages{:/p/1}0123456789abcdef0000000000000100", 47);
    assert_int_equal(names_slot(out, "sf:", "pages", NULL, 0), 11);
    assert_memory_equal(out, "sf:pages{:}", 11);
    assert_int_equal(names_slot(out, "p", "n", "}\0{\n", 4), 9);
    assert_memory_equal(out, "pn{:}\0{\n}", 9);
    assert_int_equal(names_inbox(out, "sf:", UINT64_C(0xfedcba9876543210)), 21);
    assert_memory_equal(out, "sf:i:fedcba9876543210", 21);
}

static void test_longest_key(void **state)
{
    char name[NAME_MAX_LEN + 1], *key = calloc(1, KEY_MAX_LEN + 1), *out = malloc(RESULT_MAX_LEN);
    const char token[] = "ffffffffffffffffffffffffffffffff";

    (void)state;
    assert_non_null(key);
    assert_non_null(out);
    memset(name, 'n', sizeof(name));
    name[NAME_MAX_LEN] = '\0';
    assert_int_equal(names_slot(out, name, name, key, KEY_MAX_LEN + 1), -E2BIG);
    assert_int_equal(names_slot(out, name, name, key, KEY_MAX_LEN), SLOT_MAX_LEN);
    assert_int_equal(names_result(out, SLOT_MAX_LEN, token), RESULT_MAX_LEN);
    free(key);
    free(out);
}

/* ------------------------------------------------------------------------------------ tokens */

static void test_token_is_read_as_written(void **state)
{
    static const struct token tokens[] = {
        {0, 0, 0},
        {UINT64_MAX, COUNTER_MAX, ATTEMPT_MAX},
        {UINT64_C(0x0123456789abcdef), UINT64_C(0x10), 1},
    };
    static const char *const written[] = {
        "00000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff",
        "0123456789abcdef0000000000001001",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        char out[TOKEN_LEN];
        struct token t;
        token_write(out, &tokens[i]);
        assert_memory_equal(out, written[i], TOKEN_LEN);
        assert_int_equal(token_read(&t, out, TOKEN_LEN), 0);
        assert_int_equal(t.process, tokens[i].process);
        assert_int_equal(t.counter, tokens[i].counter);
        assert_int_equal(t.attempt, tokens[i].attempt);
    }
}

static void test_token_is_refused(void **state)
{
    char s[TOKEN_LEN + 1];

    (void)state;
    memset(s, 'a', sizeof(s));
    struct token t = {.attempt = 7};
    assert_int_equal(token_read(&t, s, TOKEN_LEN - 1), -EINVAL);
    assert_int_equal(token_read(&t, s, TOKEN_LEN + 1), -EINVAL);
    assert_int_equal(token_read(&t, s, 0), -EINVAL);
    for (size_t at = 0; at < TOKEN_LEN; at++) {
        static const char wrong[] = {'A', 'g', ' ', '\0', '/', ':', '`', '\377'};
        for (size_t i = 0; i < sizeof(wrong); i++) {
            s[at] = wrong[i];
            assert_int_equal(token_read(&t, s, TOKEN_LEN), -EINVAL);
            assert_int_equal(t.attempt, 7);
            s[at] = 'a';
        }
    }
    assert_int_equal(token_read(&t, s, TOKEN_LEN), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_is_read_as_written), cmocka_unit_test(test_frame_bytes),
        cmocka_unit_test(test_frame_is_refused),         cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_names_of_a_key),           cmocka_unit_test(test_longest_key),
        cmocka_unit_test(test_token_is_read_as_written), cmocka_unit_test(test_token_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
