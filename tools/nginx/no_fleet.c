/* SPDX-License-Identifier: BSD-2-Clause */
/* no_fleet.c - fleet.h without libsingleflight-fleet: there is no fleet, so nobody asks one. */
#include "fleet.h"

char *fleet_set(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    (void)cf, (void)command, (void)conf;
    return "is not there: this module was built without libsingleflight-fleet";
}

struct fleet *fleet_create(const void *settings, sflight_queue *queue, ngx_log_t *log)
{
    (void)settings, (void)queue, (void)log;
    return NULL;
}

void fleet_close(struct fleet *f)
{
    (void)f;
}

void fleet_destroy(struct fleet *f)
{
    (void)f;
}

struct ask *fleet_ask(struct fleet *f, ngx_http_request_t *r, ngx_uint_t place,
                      const ngx_str_t *key, void *caller)
{
    (void)f, (void)r, (void)place, (void)key, (void)caller;
    return NULL;
}

void *fleet_told(sflight_completion *done)
{
    (void)done;
    return NULL;
}

enum fleet_answer fleet_answer(const struct ask *a)
{
    (void)a;
    return FLEET_FAILED;
}

struct response *fleet_response(const struct ask *a, ngx_http_request_t *r, size_t max_memory,
                                off_t max_size)
{
    (void)a, (void)r, (void)max_memory, (void)max_size;
    return NULL;
}

ngx_uint_t fleet_may_share(const struct ask *a, ngx_uint_t status, off_t size)
{
    (void)a, (void)status, (void)size;
    return 0;
}

void fleet_complete(struct ask *a, struct response *s)
{
    (void)a, (void)s;
}

void fleet_leave(struct ask *a)
{
    (void)a;
}

u_char *fleet_print(const struct fleet *f, u_char *to, u_char *end)
{
    (void)f, (void)end;
    return to;
}
