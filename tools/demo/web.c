/* SPDX-License-Identifier: BSD-2-Clause */
/* web.c - see web.h. */
#include "web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ answers */

static enum MHD_Result send_response(struct MHD_Connection *c, unsigned status, const char *type,
                                     struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO; /* no memory: closes the connection */
    enum MHD_Result rc = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (rc == MHD_YES)
        rc = MHD_queue_response(c, status, response);
    MHD_destroy_response(response);
    return rc;
}

enum MHD_Result web_text(struct MHD_Connection *c, unsigned status, const char *text)
{
    return send_response(
        c, status, "text/plain",
        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result web_error(struct MHD_Connection *c, unsigned status)
{
    switch (status) {
    case MHD_HTTP_NOT_FOUND:
        return web_text(c, status, "404 not found\n");
    case MHD_HTTP_METHOD_NOT_ALLOWED:
        return web_text(c, status, "405 method not allowed\n");
    case MHD_HTTP_SERVICE_UNAVAILABLE:
        return web_text(c, status, "503 out of memory\n");
    default:
        return web_text(c, status, "500 the database query failed\n");
    }
}

enum MHD_Result web_page(struct MHD_Connection *c, const char *html, size_t size,
                         MHD_ContentReaderFreeCallback give_back, void *owner)
{
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        size, (void *)html, give_back, owner);
    if (response == NULL)
        give_back(owner);
    return send_response(c, MHD_HTTP_OK, "text/html; charset=utf-8", response);
}

enum MHD_Result web_written(struct MHD_Connection *c, const char *type, bool (*write)(FILE *f))
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL)
        return web_error(c, MHD_HTTP_SERVICE_UNAVAILABLE);
    bool all = write(f);
    if (fclose(f) != 0 || !all) {
        free(text);
        return web_error(c, MHD_HTTP_SERVICE_UNAVAILABLE);
    }
    return send_response(c, MHD_HTTP_OK, type,
                         MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE));
}

/* ------------------------------------------------------------------- server */

static enum MHD_Result answer(void *route, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *body,
                              size_t *body_size, void **state)
{
    static char seen;
    (void)version, (void)body;
    /* The first call is for the headers alone, before the body has been read. */
    if (*state == NULL) {
        *state = &seen;
        return MHD_YES;
    }
    if (*body_size != 0) {
        *body_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return web_error(c, MHD_HTTP_METHOD_NOT_ALLOWED);
    return (*(web_route **)route)(c, url);
}

int web_listen(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

uint16_t web_port(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

static void stop_signals(sigset_t *stop)
{
    sigemptyset(stop);
    sigaddset(stop, SIGTERM);
    sigaddset(stop, SIGINT);
}

struct MHD_Daemon *web_start(int fd, web_route *route)
{
    static web_route *routes;
    sigset_t stop;
    stop_signals(&stop);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    routes = route;
    return MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                                MHD_USE_POLL | MHD_USE_ERROR_LOG,
                            0, NULL, NULL, answer, &routes, MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_END);
}

void web_serve(struct MHD_Daemon *daemon)
{
    int signal_number;
    sigset_t stop;
    stop_signals(&stop);
    sigwait(&stop, &signal_number);
    MHD_stop_daemon(daemon);
}
