/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS on a connection of hiredis, where that has it (1.0 and later).  The engine's certificate must
 * be signed by a known authority and be the host's.
 */
#ifndef SFLIGHT_FLEET_TLS_H
#define SFLIGHT_FLEET_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls;         /* the certificates */
struct tls_session; /* of a connection */

/*
 * 0; -EINVAL: this library was built without TLS, a file cannot be used (a key with a passphrase
 * neither), or there is a cert_file without a key_file or the other way round; -ENOMEM.  ca_file
 * NULL: the system's.  Leaves nothing in the caller's OpenSSL error queue.
 */
int tls_new(struct tls **out, const char *ca_file, const char *cert_file, const char *key_file);

/* NULL is fine. */
void tls_free(struct tls *t);

/*
 * Begins TLS on a redisContext that is being connected to host, a name or an address.  The session,
 * which is freed with the context; or NULL, and why gets n bytes of words.
 */
struct tls_session *tls_begin(struct tls *t, void *context, const char *host, char *why, size_t n);

enum tls_progress { TLS_WAITS, TLS_DONE, TLS_FAILED };

/*
 * Goes on with the handshake.  To be called before each write, too, as there may be one later.
 * FAILED: why gets n bytes of words.
 */
enum tls_progress tls_shake(struct tls_session *s, char *why, size_t n);

/* What poll() is to wait for; has_output: there is something to be sent. */
short tls_events(const struct tls_session *s, bool has_output);

/* To be called before each read: what others left in OpenSSL's error queue is not ours. */
void tls_expect(struct tls_session *s);

/* Bytes are there that the socket does not show. */
bool tls_has_input(const struct tls_session *s);

/* Why a read or a write has failed; false: not because of TLS, so others know. */
bool tls_explain(struct tls_session *s, char *why, size_t n);

#endif
