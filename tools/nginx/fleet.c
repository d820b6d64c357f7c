/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fleet.c - see fleet.h.
 *
 * What lead() is told on another thread it passes on by ending a call of this file's own, of which
 * the ask has a future in the worker's queue.  So two completions are due for each ask: of that
 * call, and of the flight; but of a flight that this worker leads the second is called off.  An ask
 * is freed when none is due and its caller has left.
 */
#include "fleet.h"

#include "packed.h"

#include <singleflight_fleet.h>
#include <stdbool.h>

enum { TAG_LEAD = FLEET_TAG, TAG_RESULT = FLEET_TAG | 2, TAG_BITS = 3 };

/* A worker that is told to end at once is killed if it takes a second. */
enum { CLOSE_AT_ONCE_MS = 250, CLOSE_MS = 2000 };

/* The status of a flight whose value is a response.  Of others each worker asks for itself. */
#define SHARED 1

struct fleet {
    sflight_fleet *fleet;
    sflight_group *leads; /* the calls that lead() ends */
    sflight_queue *queue;
    ngx_log_t *log;
    const sflight_fleet_options *options;
    ngx_queue_t asks;
    uint64_t alone, together; /* when it was last looked at: see watch_engine() */
    bool is_away;
};

struct ask {
    struct fleet *fleet;
    ngx_queue_t link;
    void *caller; /* NULL: has left */
    sflight_call *lead;
    sflight_future *future;       /* of the flight */
    sflight_fleet_permit *permit; /* lead()'s; the worker's once is_told */
    unsigned n_due;
    bool is_told; /* the worker, that lead() has been called */
    bool has_result;
    sflight_completion done;
};

/* ------------------------------------------------------------------------ asks */

/* On any thread. */
static void lead(sflight_fleet_permit *permit, void *arg)
{
    struct ask *a = arg;
    a->permit = permit;
    (void)sflight_complete(a->lead, 0);
}

/* All that tells what is asked for, on whatever machine. */
static ngx_int_t make_key(ngx_http_request_t *r, ngx_uint_t place, const ngx_str_t *key,
                          ngx_str_t *out)
{
    ngx_http_core_srv_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    ngx_http_core_loc_conf_t *location = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    size_t size = sizeof(PACKED_FORMAT "\n\n\n\n") + server->server_name.len + location->name.len +
                  NGX_INT_T_LEN + key->len;
    out->data = ngx_pnalloc(r->pool, size);
    if (out->data == NULL)
        return NGX_ERROR;
    u_char *end = ngx_snprintf(out->data, size, PACKED_FORMAT "\n%V\n%V\n%ui\n",
                               &server->server_name, &location->name, place);
    if (key->len > 0)
        end = ngx_cpymem(end, key->data, key->len);
    out->len = (size_t)(end - out->data);
    return NGX_OK;
}

struct ask *fleet_ask(struct fleet *f, ngx_http_request_t *r, ngx_uint_t place,
                      const ngx_str_t *key, void *caller)
{
    ngx_str_t of_fleet;
    sflight_future *led;
    if (make_key(r, place, key, &of_fleet) != NGX_OK)
        return NULL;
    struct ask *a = ngx_calloc(sizeof(*a), f->log);
    if (a == NULL)
        return NULL;
    a->fleet = f;
    a->caller = caller;
    a->n_due = 2;
    if (sflight_begin_enqueue(f->leads, &a, sizeof(a), f->queue, (uintptr_t)a | TAG_LEAD, &a->lead,
                              &led) != 0) {
        ngx_free(a);
        return NULL;
    }
    if (sflight_fleet_start(f->fleet, of_fleet.data, of_fleet.len, lead, a, &a->future) != 0) {
        (void)sflight_future_cancel(led);
        (void)sflight_abandon(a->lead);
        ngx_free(a);
        return NULL;
    }
    (void)sflight_future_enqueue(a->future, f->queue, (uintptr_t)a | TAG_RESULT); /* a new one */
    ngx_queue_insert_tail(&f->asks, &a->link);
    return a;
}

static bool has_permit(const struct ask *a)
{
    return a->is_told && a->permit != NULL;
}

/*
 * Its caller has left: gives up what it has, and is freed when nothing more can come.  A permit of
 * which the worker has not been told yet is given up when it is.
 */
static void settle(struct ask *a)
{
    if (has_permit(a)) {
        (void)sflight_fleet_abandon(a->permit);
        a->permit = NULL;
    }
    if (a->has_result)
        sflight_result_release(&a->done.result);
    a->has_result = false;
    if (a->n_due == 0) {
        ngx_queue_remove(&a->link);
        ngx_free(a);
    }
}

/* The flight's result is not wanted. */
static void call_off(struct ask *a)
{
    if (a->future != NULL && sflight_future_cancel(a->future) == 1)
        a->n_due--;
    a->future = NULL;
}

/* Says once that the engine cannot be asked, and once that it can again. */
static void watch_engine(struct fleet *f)
{
    sflight_fleet_counters n;
    char why[160];
    (void)sflight_fleet_stats(f->fleet, &n);
    uint64_t alone = n.alone_down + n.alone_slow + n.alone_refused;
    uint64_t together = n.led + n.received;
    if (alone != f->alone && !f->is_away) {
        f->is_away = true;
        ngx_log_error(NGX_LOG_ERR, f->log, 0,
                      "singleflight_fleet: %s cannot be asked, so this worker shares with no other "
                      "one: %s",
                      f->options->address, sflight_fleet_last_error(f->fleet, why, sizeof(why)));
    } else if (alone == f->alone && together != f->together && f->is_away) {
        f->is_away = false;
        ngx_log_error(NGX_LOG_NOTICE, f->log, 0, "singleflight_fleet: %s is asked again",
                      f->options->address);
    }
    f->alone = alone;
    f->together = together;
}

void *fleet_told(sflight_completion *done)
{
    struct ask *a = (struct ask *)(uintptr_t)(done->tag & ~(uint64_t)TAG_BITS);
    a->n_due--;
    if ((done->tag & TAG_BITS) == TAG_LEAD) {
        sflight_result_release(&done->result);
        a->is_told = true;
        watch_engine(a->fleet);
        if (has_permit(a))
            call_off(a);
    } else {
        a->future = NULL;
        a->done = *done;
        a->has_result = true;
    }
    if (a->caller != NULL)
        return has_permit(a) || a->has_result ? a->caller : NULL;
    settle(a);
    return NULL;
}

enum fleet_answer fleet_answer(const struct ask *a)
{
    if (has_permit(a))
        return FLEET_LEADS;
    if (!a->has_result)
        return FLEET_WAITS;
    if (a->done.rc != 0)
        return FLEET_FAILED;
    return a->done.result.status == SHARED ? FLEET_RESPONSE : FLEET_NOT_SHARED;
}

struct response *fleet_response(const struct ask *a, ngx_http_request_t *r, size_t max_memory,
                                off_t max_size)
{
    return response_unpack(a->done.result.value, a->done.result.size, r, max_memory, max_size);
}

ngx_uint_t fleet_may_share(const struct ask *a, ngx_uint_t status, off_t size)
{
    return status < NGX_HTTP_INTERNAL_SERVER_ERROR && size <= (off_t)a->fleet->options->max_value;
}

static void free_value(void *value, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    ngx_free(value);
}

void fleet_complete(struct ask *a, struct response *s)
{
    sflight_fleet_permit *permit = a->permit;
    void *value = NULL;
    size_t size = 0;
    a->permit = NULL;
    if (s != NULL && fleet_may_share(a, s->head.status, s->size))
        value = response_pack(s, &size);
    if (value != NULL)
        (void)sflight_fleet_complete(permit, SHARED, value, size, free_value, NULL);
    else
        (void)sflight_fleet_complete(permit, 0, NULL, 0, NULL, NULL);
    fleet_leave(a);
}

void fleet_leave(struct ask *a)
{
    a->caller = NULL;
    call_off(a);
    settle(a);
}

/* ------------------------------------------------------------------- lifecycle */

struct fleet *fleet_create(const void *settings, sflight_queue *queue, ngx_log_t *log)
{
    struct fleet *f = ngx_calloc(sizeof(*f), log);
    if (f == NULL)
        return NULL;
    f->options = settings;
    f->queue = queue;
    f->log = log;
    ngx_queue_init(&f->asks);
    int rc = sflight_group_create(&f->leads, NULL);
    if (rc == 0)
        rc = sflight_fleet_create(&f->fleet, f->options);
    if (rc == 0)
        return f;
    ngx_log_error(NGX_LOG_EMERG, log, 0,
                  "singleflight_fleet: %s: this worker shares with no other one: %s",
                  f->options->address, sflight_strerror(rc));
    (void)sflight_group_destroy(f->leads);
    ngx_free(f);
    return NULL;
}

void fleet_close(struct fleet *f)
{
    struct timespec deadline;
    for (ngx_queue_t *q = ngx_queue_head(&f->asks), *next; q != ngx_queue_sentinel(&f->asks);
         q = next) {
        next = ngx_queue_next(q);
        fleet_leave(ngx_queue_data(q, struct ask, link));
    }
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    long ms = deadline.tv_nsec / 1000000 + (ngx_exiting ? CLOSE_MS : CLOSE_AT_ONCE_MS);
    deadline.tv_sec += ms / 1000;
    deadline.tv_nsec = ms % 1000 * 1000000;
    (void)sflight_fleet_close(f->fleet, &deadline);
}

/* What is still asked goes with the process. */
void fleet_destroy(struct fleet *f)
{
    if (sflight_fleet_destroy(f->fleet) == 0 && sflight_group_destroy(f->leads) == 0)
        ngx_free(f);
}

/* ------------------------------------------------------------------- directive */

static const struct {
    ngx_str_t name;
    size_t offset;
} texts[] = {{ngx_string("name="), offsetof(sflight_fleet_options, name)},
             {ngx_string("prefix="), offsetof(sflight_fleet_options, prefix)},
             {ngx_string("user="), offsetof(sflight_fleet_options, user)},
             {ngx_string("password="), offsetof(sflight_fleet_options, password)}},
  times[] = {{ngx_string("lease="), offsetof(sflight_fleet_options, lease_ms)},
             {ngx_string("timeout="), offsetof(sflight_fleet_options, engine_timeout_ms)}};

/* What comes after the name; false: it is another one. */
static bool is_parameter(const ngx_str_t *arg, const ngx_str_t *name, ngx_str_t *value)
{
    if (ngx_strncmp(arg->data, name->data, name->len) != 0)
        return false;
    value->data = arg->data + name->len;
    value->len = arg->len - name->len;
    return true;
}

static bool set_parameter(sflight_fleet_options *o, const ngx_str_t *arg)
{
    static const ngx_str_t max_value = ngx_string("max_value=");
    ngx_str_t value;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (is_parameter(arg, &texts[i].name, &value)) {
            *(const char **)((u_char *)o + texts[i].offset) = (const char *)value.data;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        if (is_parameter(arg, &times[i].name, &value)) {
            ngx_int_t ms = ngx_parse_time(&value, 0);
            *(uint32_t *)((u_char *)o + times[i].offset) = (uint32_t)ms;
            return ms >= 0 && ms <= UINT32_MAX;
        }
    }
    if (!is_parameter(arg, &max_value, &value))
        return false;
    ssize_t size = ngx_parse_size(&value);
    o->max_value = (size_t)size;
    return size >= 0;
}

/* Where the hosts begin; NULL: it has none, or none that can be found. */
static const char *hosts_of(const char *address)
{
    static const char sentinel[] = "sentinel:";
    if (ngx_strncmp(address, "tcp:", 4) == 0 || ngx_strncmp(address, "tls:", 4) == 0)
        return address + 4;
    if (ngx_strncmp(address, sentinel, sizeof(sentinel) - 1) != 0)
        return NULL;
    const char *at = ngx_strchr(address, '@');
    return at != NULL ? at + 1 : NULL;
}

/*
 * The address with other hosts, which no name has to be looked up for and nothing connects to; as
 * well formed as it was.
 */
static u_char *replace_hosts(const char *address, const char *hosts, ngx_log_t *log)
{
    static const char nowhere[] = "255.255.255.255";
    u_char *replaced = ngx_alloc(ngx_strlen(address) * sizeof(nowhere) + 1, log);
    if (replaced == NULL)
        return NULL;
    u_char *end = ngx_cpymem(replaced, address, (size_t)(hosts - address));
    while (*hosts != '\0') {
        const char *no_part = ": \t\r\n[]@,/";
        if (*hosts == '[') {
            *end++ = (u_char)*hosts++;
            no_part++; /* inside there may be colons */
        }
        size_t n = strcspn(hosts, no_part);
        if (n > 0)
            end = ngx_cpymem(end, nowhere, sizeof(nowhere) - 1);
        hosts += n;
        n = strcspn(hosts, ",");
        n += hosts[n] == ',';
        end = ngx_cpymem(end, hosts, n);
        hosts += n;
    }
    *end = '\0';
    return replaced;
}

/*
 * Only a fleet knows whether its options are good.  This one is gone, with its thread, before there
 * are workers; a name would be looked up on one more thread, which is not waited for.
 */
static int try_options(const sflight_fleet_options *options, ngx_log_t *log)
{
    sflight_fleet_options o = *options;
    const char *hosts = hosts_of(o.address);
    u_char *replaced = NULL;
    sflight_fleet *f;
    if (hosts != NULL) {
        replaced = replace_hosts(o.address, hosts, log);
        if (replaced == NULL)
            return -ENOMEM;
        o.address = (const char *)replaced;
    }
    int rc = sflight_fleet_create(&f, &o);
    if (rc == 0)
        (void)sflight_fleet_destroy(f);
    if (replaced != NULL)
        ngx_free(replaced);
    return rc;
}

char *fleet_set(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    void **settings = (void **)((u_char *)conf + command->offset);
    ngx_str_t *args = cf->args->elts;
    if (*settings != NULL)
        return "is duplicate";
    sflight_fleet_options *o = ngx_palloc(cf->pool, sizeof(*o));
    if (o == NULL)
        return NGX_CONF_ERROR;
    sflight_fleet_options_init(o);
    o->name = "nginx";
    o->address = (const char *)args[1].data;
    for (ngx_uint_t i = 2; i < cf->args->nelts; i++) {
        if (!set_parameter(o, &args[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"", &args[i]);
            return NGX_CONF_ERROR;
        }
    }
    o->max_age_ms = ngx_max(o->max_age_ms, o->lease_ms);
    int rc = try_options(o, cf->log);
    if (rc != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "singleflight_fleet \"%V\": %s", &args[1],
                           rc == -EINVAL ? "the address or a parameter is malformed or out of range"
                                         : sflight_strerror(rc));
        return NGX_CONF_ERROR;
    }
    *settings = o;
    return NGX_CONF_OK;
}

/* ---------------------------------------------------------------------- status */

u_char *fleet_print(const struct fleet *f, u_char *to, u_char *end)
{
    sflight_fleet_counters n;
    const char *name;
    uint64_t value;
    bool now;
    (void)sflight_fleet_stats(f->fleet, &n);
    for (unsigned i = 0; (name = sflight_fleet_counter(&n, i, &value, &now)) != NULL; i++)
        to = ngx_slprintf(to, end, "sflight_fleet_%s%s{worker=\"%P\"} %uL\n", name,
                          now ? "" : "_total", ngx_pid, value);
    return to;
}
