/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hiredis' own TLS context takes any certificate of a known authority for any host: so the SSL
 * objects are made here.
 */
#include "tls.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__has_include)
#if __has_include(<hiredis/hiredis_ssl.h>) && __has_include(<openssl/ssl.h>)
#define HAS_TLS 1
#endif
#endif

#ifdef HAS_TLS

#include "resolve.h"

#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>

/* Nobody is asked for the passphrase of a key. */
static int no_passphrase(char *buf, int size, int writes, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writes;
    (void)ctx;
    return -1;
}

static bool use_files(SSL_CTX *c, const char *ca_file, const char *cert_file, const char *key_file)
{
    if ((ca_file != NULL ? SSL_CTX_load_verify_locations(c, ca_file, NULL)
                         : SSL_CTX_set_default_verify_paths(c)) != 1)
        return false;
    return cert_file == NULL || (SSL_CTX_use_certificate_chain_file(c, cert_file) == 1 &&
                                 SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM) == 1);
}

int tls_new(struct tls **out, const char *ca_file, const char *cert_file, const char *key_file)
{
    int rc = 0;

    *out = NULL;
    if ((cert_file == NULL) != (key_file == NULL))
        return -EINVAL;
    /* A program may end while the engine thread is at work: then nothing is cleaned up. */
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_set_mark();
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    if (c == NULL) {
        rc = -ENOMEM;
    } else {
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
        SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION);
        SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_default_passwd_cb(c, no_passphrase);
        if (!use_files(c, ca_file, cert_file, key_file))
            rc = ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? -ENOMEM : -EINVAL;
    }
    ERR_pop_to_mark();
    if (rc == 0)
        *out = (struct tls *)c;
    else
        SSL_CTX_free(c);
    return rc;
}

void tls_free(struct tls *t)
{
    SSL_CTX_free((SSL_CTX *)t);
}

static SSL *ssl_of(const struct tls_session *s)
{
    return (SSL *)(uintptr_t)s;
}

/* What OpenSSL says, and which of the certificate's faults it means; otherwise: if it is silent. */
static void explain(const SSL *ssl, const char *otherwise, char *why, size_t n)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
    long verdict = SSL_get_verify_result(ssl);

    if (ERR_GET_LIB(error) == ERR_LIB_SYS)
        reason = strerror(ERR_GET_REASON(error));
    if (verdict != X509_V_OK && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(why, n, "TLS: certificate: %s", X509_verify_cert_error_string(verdict));
    else
        snprintf(why, n, "TLS: %s", reason != NULL ? reason : otherwise);
    ERR_clear_error();
}

/* The certificate must be the host's; a name, but no address, is said to the server as well. */
static bool expect_host(SSL *ssl, const char *host)
{
    if (resolve_is_numeric(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls_session *tls_begin(struct tls *t, void *context, const char *host, char *why, size_t n)
{
    redisContext *c = context;

    ERR_clear_error();
    SSL *ssl = SSL_new((SSL_CTX *)t);
    if (ssl == NULL) {
        snprintf(why, n, "out of memory for TLS");
        ERR_clear_error();
        return NULL;
    }
    if (!expect_host(ssl, host)) {
        explain(ssl, "not a host name that a certificate can have", why, n);
    } else if (redisInitiateSSL(c, ssl) != REDIS_OK) {
        explain(ssl, c->errstr, why, n);
    } else {
        ERR_clear_error();
        return (struct tls_session *)ssl; /* the context's */
    }
    SSL_free(ssl);
    return NULL;
}

enum tls_progress tls_shake(struct tls_session *s, char *why, size_t n)
{
    SSL *ssl = ssl_of(s);

    ERR_clear_error();
    if (SSL_is_init_finished(ssl))
        return TLS_DONE;
    errno = 0;
    int rc = SSL_do_handshake(ssl);
    int error = errno;
    if (rc == 1) {
        ERR_clear_error();
        return TLS_DONE;
    }
    rc = SSL_get_error(ssl, rc);
    if (rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE)
        return TLS_WAITS;
    explain(ssl, error != 0 ? strerror(error) : "the connection was closed in the handshake", why,
            n);
    return TLS_FAILED;
}

short tls_events(const struct tls_session *s, bool has_output)
{
    const SSL *ssl = ssl_of(s);

    if (SSL_is_init_finished(ssl))
        return has_output ? POLLIN | POLLOUT : POLLIN;
    return SSL_want_write(ssl) ? POLLOUT : POLLIN;
}

void tls_expect(struct tls_session *s)
{
    (void)s;
    ERR_clear_error();
}

bool tls_has_input(const struct tls_session *s)
{
    return SSL_pending(ssl_of(s)) > 0;
}

bool tls_explain(struct tls_session *s, char *why, size_t n)
{
    unsigned long error = ERR_peek_last_error();
    int saved = ERR_GET_REASON(error);
    char unused;

    if (error == 0)
        return false;
    if (ERR_GET_LIB(error) != ERR_LIB_SYS) {
        explain(ssl_of(s), "", why, n);
        return true;
    }
    /* Who closes has often said why: that comes in front of the reset, but is not read yet. */
    ERR_clear_error();
    (void)SSL_read(ssl_of(s), &unused, 1);
    if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_SYS)
        ERR_clear_error();
    explain(ssl_of(s), strerror(saved), why, n);
    return true;
}

#else

int tls_new(struct tls **out, const char *ca_file, const char *cert_file, const char *key_file)
{
    (void)ca_file;
    (void)cert_file;
    (void)key_file;
    *out = NULL;
    return -EINVAL;
}

void tls_free(struct tls *t)
{
    (void)t;
}

struct tls_session *tls_begin(struct tls *t, void *context, const char *host, char *why, size_t n)
{
    (void)t;
    (void)context;
    (void)host;
    snprintf(why, n, "built without TLS");
    return NULL;
}

enum tls_progress tls_shake(struct tls_session *s, char *why, size_t n)
{
    (void)s;
    (void)why;
    (void)n;
    return TLS_FAILED;
}

short tls_events(const struct tls_session *s, bool has_output)
{
    (void)s;
    (void)has_output;
    return 0;
}

void tls_expect(struct tls_session *s)
{
    (void)s;
}

bool tls_has_input(const struct tls_session *s)
{
    (void)s;
    return false;
}

bool tls_explain(struct tls_session *s, char *why, size_t n)
{
    (void)s;
    (void)why;
    (void)n;
    return false;
}

#endif
