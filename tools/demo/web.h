/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * web.h - the HTTP of servers made of threads: libmicrohttpd with a thread for each connection, on
 * 127.0.0.1.
 */
#ifndef WEB_H
#define WEB_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Answers a GET or HEAD of the path, by one of the functions below; on the connection's thread. */
typedef enum MHD_Result web_route(struct MHD_Connection *c, const char *path);

/* A socket that listens, on a free port if port is 0; or -1, and errno. */
int web_listen(uint16_t port);

/* The port of such a socket. */
uint16_t web_port(int fd);

/*
 * Blocks SIGTERM and SIGINT, so that no thread of the server is ever interrupted, and starts to
 * serve on the socket, which MHD_stop_daemon() closes.  NULL: libmicrohttpd has said why not.
 */
struct MHD_Daemon *web_start(int fd, web_route *route);

/* Serves until SIGTERM or SIGINT, then ends every connection's thread. */
void web_serve(struct MHD_Daemon *daemon);

/* A string that stays. */
enum MHD_Result web_text(struct MHD_Connection *c, unsigned status, const char *text);

/* 404, 405, 500 or 503, in words. */
enum MHD_Result web_error(struct MHD_Connection *c, unsigned status);

/* A page, from where it lies; give_back(owner) is called once it is sent, or failed. */
enum MHD_Result web_page(struct MHD_Connection *c, const char *html, size_t size,
                         MHD_ContentReaderFreeCallback give_back, void *owner);

/* What write() writes, which says whether it could. */
enum MHD_Result web_written(struct MHD_Connection *c, const char *type, bool (*write)(FILE *f));

#endif
