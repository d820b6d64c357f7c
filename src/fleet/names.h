/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names in the engine, and tokens.
 *
 *   slot     PREFIX NAME {: KEY }           a key: the leader's token, then the waiters' tokens
 *   result   PREFIX NAME {: KEY } TOKEN     a key: the frame of a flight that was waited for
 *   inbox    PREFIX i: PROCESS              a channel: one for each process
 *   token    PROCESS COUNTER ATTEMPT        16, 14 and 2 lower-case hex digits
 *
 * The braces make the hash tag of a cluster, and the colon keeps the tag from being empty, so all
 * names of a key are in one place.  A slot ends in a brace, a result in a hex digit: whatever is
 * in KEY, which is any bytes, no slot is another key's result.
 */
#ifndef SFLIGHT_FLEET_NAMES_H
#define SFLIGHT_FLEET_NAMES_H

#include <stddef.h>
#include <stdint.h>

enum {
    NAME_MAX_LEN = 64,  /* of a prefix or a name: [A-Za-z0-9._:-]{1,64} */
    KEY_MAX_LEN = 4096, /* bytes of a key that flies with the fleet */
    TOKEN_LEN = 32,
    TOKEN_FLIGHT_LEN = 30, /* process and counter: the same for all attempts of a flight */
    PROCESS_LEN = 16,
    ATTEMPT_MAX = 255,
    SLOT_MAX_LEN = 2 * NAME_MAX_LEN + 3 + KEY_MAX_LEN,
    RESULT_MAX_LEN = SLOT_MAX_LEN + TOKEN_LEN,
    INBOX_MAX_LEN = NAME_MAX_LEN + 2 + PROCESS_LEN
};

#define COUNTER_MAX ((UINT64_C(1) << 56) - 1)

struct token {
    uint64_t process;
    uint64_t counter; /* at most COUNTER_MAX */
    unsigned attempt; /* at most ATTEMPT_MAX */
};

/* 0, or -EINVAL: s is NULL, empty, too long, or has another character. */
int names_check(const char *s);

/*
 * Writes a slot's name to out, which has room for SLOT_MAX_LEN bytes; no NUL is added.  prefix and
 * name have passed names_check().  Returns its length; or -E2BIG: the key is too long.
 */
int names_slot(char *out, const char *prefix, const char *name, const void *key, size_t key_len);

/* Makes a result's name of a slot's: adds the token behind it.  Returns the length of the name. */
size_t names_result(char *slot, size_t slot_len, const char token[TOKEN_LEN]);

/* Writes an inbox's name to out, which has room for INBOX_MAX_LEN bytes.  Returns its length. */
size_t names_inbox(char *out, const char *prefix, uint64_t process);

/* Writes a token; its numbers are in their bounds. */
void token_write(char out[TOKEN_LEN], const struct token *token);

/* 0, or -EINVAL: s is not TOKEN_LEN lower-case hex digits; then *out is unchanged. */
int token_read(struct token *out, const void *s, size_t len);

#endif
