/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS on a connection of hiredis, where that has it (1.0 and later).  The engine's certificate must
 * be signed by a known authority and be the host's.
 */
#ifndef SFLIGHT_FLEET_TLS_H
#define SFLIGHT_FLEET_TLS_H

struct tls; /* the certificates */

/*
 * 0; -EINVAL: this library was built without TLS, a file cannot be used, or there is a cert_file
 * without a key_file or the other way round; -ENOMEM.  ca_file NULL: the system's.
 */
int tls_new(struct tls **out, const char *ca_file, const char *cert_file, const char *key_file);

/* NULL is fine. */
void tls_free(struct tls *t);

/*
 * Begins TLS on a redisContext that is being connected to host, a name or an address.  0, or
 * -ENOMEM.
 */
int tls_begin(struct tls *t, void *context, const char *host);

#endif
