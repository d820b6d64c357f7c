/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Static tracepoints for perf, bpftrace, gdb and SystemTap: each place is one nop, and a note in
 * the object that says where it stands and where its arguments are.  singleflight_tracing(7) has
 * what they are called and when they are passed.
 *
 * Without <sys/sdt.h> (Debian: systemtap-sdt-dev) there are none; nothing is needed at run time.
 */
#ifndef SFLIGHT_PROBE_H
#define SFLIGHT_PROBE_H

#if defined(__has_include) && !defined(SFLIGHT_NO_PROBES)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#ifdef __clang__ /* of macros inside of that header's, which are expanded here */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#endif
#endif

/* Of a call whose key may be read: its record, its key's address and length in bytes. */
#ifdef DTRACE_PROBE3
#define PROBE(name, call)                                                                          \
    DTRACE_PROBE3(singleflight, name, (call), (call)->node.key, (call)->node.key_len)
#else
#define PROBE(name, call) ((void)0)
#endif

#endif
