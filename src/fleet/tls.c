/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hiredis' own TLS context takes any certificate of a known authority for any host: so the SSL
 * objects are made here.
 */
#include "tls.h"

#include <errno.h>
#include <stddef.h>

#if defined(__has_include)
#if __has_include(<hiredis/hiredis_ssl.h>)
#define HAS_TLS 1
#endif
#endif

#ifdef HAS_TLS

#include "resolve.h"

#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>

int tls_new(struct tls **out, const char *ca_file, const char *cert_file, const char *key_file)
{
    *out = NULL;
    if ((cert_file == NULL) != (key_file == NULL))
        return -EINVAL;
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    if (c == NULL)
        return -ENOMEM;
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if ((ca_file != NULL ? SSL_CTX_load_verify_locations(c, ca_file, NULL)
                         : SSL_CTX_set_default_verify_paths(c)) != 1 ||
        (cert_file != NULL && (SSL_CTX_use_certificate_chain_file(c, cert_file) != 1 ||
                               SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM) != 1))) {
        SSL_CTX_free(c);
        return -EINVAL;
    }
    *out = (struct tls *)c;
    return 0;
}

void tls_free(struct tls *t)
{
    SSL_CTX_free((SSL_CTX *)t);
}

int tls_begin(struct tls *t, void *context, const char *host)
{
    SSL *ssl = SSL_new((SSL_CTX *)t);
    bool is_numeric = resolve_is_numeric(host);

    if (ssl == NULL)
        return -ENOMEM;
    if ((is_numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                    : SSL_set1_host(ssl, host)) != 1 ||
        (!is_numeric && SSL_set_tlsext_host_name(ssl, host) != 1)) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    SSL_set_connect_state(ssl);
    if (redisInitiateSSL(context, ssl) != REDIS_OK) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    return 0;
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

int tls_begin(struct tls *t, void *context, const char *host)
{
    (void)t;
    (void)context;
    (void)host;
    return -ENOMEM;
}

#endif
