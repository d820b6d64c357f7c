/* SPDX-License-Identifier: BSD-2-Clause */
#include "ask.h"

#include "frame.h"
#include "scripts.h"

#include <stdio.h>
#include <string.h>

static void add(struct command *out, const void *bytes, size_t len)
{
    out->args[out->n++] = (struct link_arg){bytes, len};
}

static void add_text(struct command *out, const char *text)
{
    add(out, text, strlen(text));
}

/* which: of the command's numbers. */
static void add_number(struct command *out, unsigned which, uint64_t n)
{
    snprintf(out->numbers[which], sizeof(out->numbers[which]), "%llu", (unsigned long long)n);
    add_text(out, out->numbers[which]);
}

static void add_result(struct command *out, const struct claim *c, const char token[TOKEN_LEN])
{
    memcpy(out->result, c->slot, c->slot_len);
    add(out, out->result, names_result(out->result, c->slot_len, token));
}

static void begin_eval(struct command *out, const struct claim *c, const char *script,
                       const char *n_keys)
{
    out->n = 0;
    add_text(out, "EVAL");
    add_text(out, script);
    add_text(out, n_keys);
    add(out, c->slot, c->slot_len);
}

void ask_of_flight(struct command *out, const struct claim *c, uint32_t command,
                   const char *channel, size_t channel_len)
{
    const struct flight *f = &c->flight;

    switch (command) {
    case FLIGHT_SEND_CLAIM:
        begin_eval(out, c, SCRIPT_CLAIM, "2");
        add_result(out, c, f->joined);
        add(out, f->token, TOKEN_LEN);
        add_number(out, 0, c->member->lease_ms);
        add_text(out, f->rejoin ? "1" : "0");
        add_number(out, 1, c->member->max_value + FRAME_HEAD_LEN);
        return;
    case FLIGHT_SEND_RENEW:
        begin_eval(out, c, SCRIPT_RENEW, "1");
        add(out, f->token, TOKEN_LEN);
        add_number(out, 0, c->member->lease_ms);
        return;
    case FLIGHT_SEND_PUBLISH:
        begin_eval(out, c, SCRIPT_PUBLISH, "2");
        add_result(out, c, f->token);
        add(out, f->token, TOKEN_LEN);
        add(out, c->frame, c->frame_len);
        add_number(out, 0, SCRIPT_LINGER_MS);
        add(out, channel, channel_len - PROCESS_LEN);
        add_number(out, 1, SCRIPT_INLINE_BUDGET);
        return;
    default:
        begin_eval(out, c, SCRIPT_DROP, "1");
        add(out, f->drop_token, TOKEN_LEN);
        add(out, channel, channel_len - PROCESS_LEN);
    }
}

void ask_other(struct command *out, const struct claim *c, const char *channel, size_t channel_len)
{
    begin_eval(out, c, c->script, "1");
    add(out, c->token, c->token_len);
    if (c->with_inbox)
        add(out, channel, channel_len - PROCESS_LEN);
    else
        add_number(out, 0, c->member->lease_ms);
}

static bool is_letter(const struct link_value *v, char letter)
{
    return v->type == LINK_STRING && v->len == 1 && v->bytes[0] == letter;
}

static void claim_reply(struct flight_reply *out, const struct link_reply *r)
{
    const struct link_value *e = r->elements;

    if (r->n_elements == 1 && is_letter(&e[0], 'L')) {
        out->kind = FLIGHT_REPLY_LEAD;
    } else if (r->n_elements == 3 && is_letter(&e[0], 'W') && e[1].type == LINK_STRING &&
               e[2].type == LINK_INTEGER) {
        out->kind = FLIGHT_REPLY_WAIT;
        out->integer = e[2].integer;
        out->bytes = (const unsigned char *)e[1].bytes;
        out->len = e[1].len;
    } else if (r->n_elements == 2 && is_letter(&e[0], 'V') && e[1].type == LINK_STRING) {
        out->kind = FLIGHT_REPLY_VALUE;
        out->bytes = (const unsigned char *)e[1].bytes;
        out->len = e[1].len;
    }
}

void ask_reply(struct flight_reply *out, uint32_t command, const struct link_reply *r)
{
    *out = (struct flight_reply){.kind = FLIGHT_REPLY_ERROR};
    if (command == FLIGHT_SEND_CLAIM && r->value.type == LINK_ARRAY) {
        claim_reply(out, r);
    } else if (command != FLIGHT_SEND_CLAIM && r->value.type == LINK_INTEGER) {
        out->kind = FLIGHT_REPLY_INTEGER;
        out->integer = r->value.integer;
    }
}
