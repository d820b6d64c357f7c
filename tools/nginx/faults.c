/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faults.c - what check has happen at its will, linked in with --wrap; of no module that is used.
 *
 * Files in nginx's directory say what:
 *
 *     hold      a thread that is not the worker's waits in sflight_complete() until it is gone, and
 *               then "held" is there
 *     refuse    the module's ngx_handle_read_event() fails
 *     lookups   has been written to: the name of a host was looked up
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <netdb.h>
#include <singleflight.h>
#include <stdbool.h>

uint32_t __real_sflight_complete(sflight_call *call, int status);
uint32_t __wrap_sflight_complete(sflight_call *call, int status);
ngx_int_t __real_ngx_handle_read_event(ngx_event_t *event, ngx_uint_t flags);
ngx_int_t __wrap_ngx_handle_read_event(ngx_event_t *event, ngx_uint_t flags);
int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list);

static const char *path_of(const char *name, char path[NGX_MAX_PATH])
{
    (void)snprintf(path, NGX_MAX_PATH, "%.*s%s", (int)ngx_cycle->prefix.len,
                   (const char *)ngx_cycle->prefix.data, name);
    return path;
}

static bool is_there(const char *name)
{
    char path[NGX_MAX_PATH];
    return access(path_of(name, path), F_OK) == 0;
}

static void make(const char *name)
{
    char path[NGX_MAX_PATH];
    int fd = open(path_of(name, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

uint32_t __wrap_sflight_complete(sflight_call *call, int status)
{
    if (gettid() != getpid() && is_there("hold")) {
        make("held");
        while (is_there("hold"))
            usleep(1000);
    }
    return __real_sflight_complete(call, status);
}

ngx_int_t __wrap_ngx_handle_read_event(ngx_event_t *event, ngx_uint_t flags)
{
    return is_there("refuse") ? NGX_ERROR : __real_ngx_handle_read_event(event, flags);
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list)
{
    if (hints == NULL || !(hints->ai_flags & AI_NUMERICHOST))
        make("lookups");
    return __real_getaddrinfo(host, service, hints, list);
}
