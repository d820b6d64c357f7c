/* SPDX-License-Identifier: BSD-2-Clause */
#include "names.h"

#include <errno.h>
#include <string.h>

static const char DIGITS[] = "0123456789abcdef";

int names_check(const char *s)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    size_t len = s == NULL ? 0 : strnlen(s, NAME_MAX_LEN + 1);

    return len == 0 || len > NAME_MAX_LEN || strspn(s, allowed) != len ? -EINVAL : 0;
}

static char *put(char *at, const void *bytes, size_t len)
{
    if (len != 0)
        memcpy(at, bytes, len);
    return at + len;
}

static void put_hex(char *at, uint64_t number, size_t n_digits)
{
    while (n_digits > 0) {
        at[--n_digits] = DIGITS[number & 15];
        number >>= 4;
    }
}

int names_slot(char *out, const char *prefix, const char *name, const void *key, size_t key_len)
{
    char *at = out;

    if (key_len > KEY_MAX_LEN)
        return -E2BIG;
    at = put(at, prefix, strlen(prefix));
    at = put(at, name, strlen(name));
    at = put(at, "{:", 2);
    at = put(at, key, key_len);
    at = put(at, "}", 1);
    return (int)(at - out);
}

size_t names_result(char *slot, size_t slot_len, const char token[TOKEN_LEN])
{
    memcpy(slot + slot_len, token, TOKEN_LEN);
    return slot_len + TOKEN_LEN;
}

size_t names_inbox(char *out, const char *prefix, uint64_t process)
{
    char *at = put(put(out, prefix, strlen(prefix)), "i:", 2);

    put_hex(at, process, PROCESS_LEN);
    return (size_t)(at - out) + PROCESS_LEN;
}

void token_write(char out[TOKEN_LEN], const struct token *token)
{
    put_hex(out, token->process, PROCESS_LEN);
    put_hex(out + PROCESS_LEN, token->counter, TOKEN_FLIGHT_LEN - PROCESS_LEN);
    put_hex(out + TOKEN_FLIGHT_LEN, token->attempt, TOKEN_LEN - TOKEN_FLIGHT_LEN);
}

/* The number that n_digits hex digits are; or -EINVAL: one of them is none. */
static int hex(uint64_t *out, const char *at, size_t n_digits)
{
    uint64_t number = 0;

    for (size_t i = 0; i < n_digits; i++) {
        const char *digit = at[i] == '\0' ? NULL : strchr(DIGITS, at[i]);
        if (digit == NULL)
            return -EINVAL;
        number = number << 4 | (uint64_t)(digit - DIGITS);
    }
    *out = number;
    return 0;
}

int token_read(struct token *out, const void *s, size_t len)
{
    const char *at = s;
    uint64_t process, counter, attempt;

    if (len != TOKEN_LEN || hex(&process, at, PROCESS_LEN) != 0 ||
        hex(&counter, at + PROCESS_LEN, TOKEN_FLIGHT_LEN - PROCESS_LEN) != 0 ||
        hex(&attempt, at + TOKEN_FLIGHT_LEN, TOKEN_LEN - TOKEN_FLIGHT_LEN) != 0)
        return -EINVAL;
    *out = (struct token){.process = process, .counter = counter, .attempt = (unsigned)attempt};
    return 0;
}
