/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight_fleet.h - singleflight.h across processes and machines: of all the callers that
 * want a key at the same moment, in however many processes, one runs fn, and all get the result.
 * They meet at an engine that most sites run already, Redis or Valkey.
 *
 *     sflight_fleet_options o;
 *     sflight_fleet_options_init(&o);
 *     o.name = "pages.v3";                       // with the format of the values
 *     o.address = "unix:/run/redis/redis.sock";
 *     rc = sflight_fleet_create(&fleet, &o);     // after fork(), once for each process
 *
 *     sflight_result r;
 *     rc = sflight_fleet_do(fleet, path, strlen(path), load_page, &request, &deadline, &r);
 *     if (rc == 0)                               // led, joined or received: all the same
 *         send_page(client, r.status, r.value, r.size);
 *     sflight_result_release(&r);
 *
 * It is an efficiency device, not a lock: it saves runs, and never makes two runs of a key
 * impossible.  Where two run at a time, a counter says why.  Nothing is cached.
 *
 * Words
 *   A FLEET is a namespace of keys.  Processes that create it with the same name, prefix, engine
 *   and database share it.  A FLIGHT is one execution for one key in the whole fleet.  Within a
 *   process a fleet is a group (singleflight.h), which it owns: of the callers of a key in this
 *   process one is the leader of a call, and only that one asks the engine.  Its call then LEADS
 *   the flight, and fn runs here; or it RECEIVES the result of another process; or it flies
 *   ALONE: fn runs for the callers of this process only, because the engine could not be asked.
 *   The leading process has a LEASE, which is renewed while fn runs.
 *   The ENGINE THREAD is one thread of the library for each process and engine, whatever the number
 *   of fleets with the same engine options.  All signals are blocked in it.  It has two
 *   connections.
 *
 * Values
 *   A value goes to other processes as its bytes, result.size of them from result.value: no
 *   pointers, one byte order.  result.status goes with it.  Put the format of the values into
 *   options.name, so that two versions of a program have different flights.
 *   A received value is freed by the library after its last holder has released it.
 *   Whoever may write to the engine can forge values: trust the engine as you trust a cache.
 *
 * What is promised
 *   1. A result that came through the engine was published after the call that gets it had begun.
 *      Its fn had returned at most two leases before that.  The callers in the leading process do
 *      not wait for the publishing: one of them that asks again in that moment waits for it, and
 *      gets a newer result.  Other processes to which it has told of its result may still get
 *      that, usually for less than a millisecond.
 *   2. Without faults at most one fn runs for a key at a time in the whole fleet.  Two run at a
 *      time only where a lease was lost (leases_lost, refused, unpublished: the process was stopped
 *      or cut off for longer than the lease, or the engine lost or evicted the key), after
 *      sflight_fleet_forget() (forgotten), past options.max_age_ms (aged), or where a process
 *      flies alone (alone_...).
 *   3. A leader whose lease is gone publishes nothing.  The callers of its own process get its
 *      result.
 *   4. A caller with a deadline returns by then, but for its own run of fn.  Waiting for the
 *      engine is waiting.  A caller without one waits for other processes at most
 *      max_age + 2 leases + engine_timeout, then runs fn itself; from the beginning again where it
 *      takes over from a leader of its own process.
 *   5. An engine that is down, slow, full or refuses is no error to a caller: its process flies
 *      alone, which a counter and sflight_fleet_last_error() tell.  Nothing is printed.
 *   6. After sflight_fleet_forget() has returned 0 or 1 no process joins a run that began before.
 *      In the process of that run newcomers may do so for the time of a message, or a third of a
 *      lease, or until it is connected again.  A process that flies alone is not reached.
 *   Not promised: exactly one run; any order between keys or fleets; that a circle of waits through
 *   several processes is found (inside one -EDEADLK is as in singleflight.h): it ends after
 *   max_age.
 *
 * Calls, fn and results
 *   Everything is as in singleflight.h, which is the reference: fn, panics, exceptions,
 *   cancellation, takeover, memory ordering in the process, release.  The differences:
 *   - result.leader says that fn ran here, for this caller (of sflight_fleet_start(): see there).
 *   - on_abandon of the group is SFLIGHT_ABANDON_TAKEOVER where options.group is NULL; options of
 *     your own say it themselves, if you want it.  With it, where the leader of this process leaves
 *     at its deadline while it waits for the engine or another process, another caller goes on.
 *   - If fn does not return (or calls sflight_call_abandon()), the waiting processes are told
 *     at once, and one of them runs its own.
 *   - A key longer than SFLIGHT_FLEET_MAX_KEY flies alone, as does a value longer than
 *     options.max_value: the waiting processes are told, and each runs its own.
 *
 * fork
 *   A fleet belongs to the process that created it.  In a child it flies alone (alone_forked),
 *   sflight_fleet_check() and _forget() say -EHOSTUNREACH, and sflight_fleet_destroy() frees what
 *   it can.  Create fleets after fork(), and not in a handler of pthread_atfork().
 *
 * Errors
 *   As in singleflight.h: 0 or a documented non-negative number, or a negative errno value:
 *     -EINVAL        an argument is NULL, out of range or malformed
 *     -ENOMEM        there is no memory
 *     -EMFILE, -ENFILE, -EAGAIN, -EPERM, -ENOSYS
 *                    of sflight_fleet_create(): there is no descriptor, or no thread
 *     -EAGAIN        the call of this process has group.max_waiters followers already
 *     -ETIMEDOUT     the deadline passed
 *     -EDEADLK       as in singleflight.h; and of every function that waits, on the engine thread
 *     -ESHUTDOWN     the fleet is closed
 *     -EBUSY         the fleet is in use and was not destroyed
 *     -EHOSTUNREACH  the engine could not be asked; sflight_strerror() has no text for it
 *     -EOWNERDEAD, -ENOTRECOVERABLE
 *                    of sflight_fleet_do() and futures, as in singleflight.h
 *
 * Clocks
 *   Only durations are used, here and in the engine.  A step of the engine's wall clock forward
 *   ends leases early, one backward lengthens them; promise 4 holds all the same.
 */
#ifndef SFLIGHT_FLEET_H
#define SFLIGHT_FLEET_H

#include "singleflight.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sflight_fleet sflight_fleet; /* a namespace of keys of many processes */
typedef struct sflight_fleet_permit sflight_fleet_permit; /* to run and end one call */

#define SFLIGHT_FLEET_MAX_KEY 4096 /* bytes; longer keys fly alone */

/* ---------------------------------------------------------------- options */
/*
 * Copied by sflight_fleet_create(), strings too.  Defaults are in parentheses.  Fleets of a process
 * whose address, prefix, user, password, database and files are equal share the engine thread and
 * its connections.
 */
typedef struct sflight_fleet_options {
    size_t struct_size;   /* set by sflight_fleet_options_init() */
    const char *name;     /* the namespace: 1 to 64 of A-Z a-z 0-9 . _ : -  No default */
    const char *address;  /* where the engine is.  No default.  One of
                             "unix:/PATH"
                             "tcp:HOST:PORT"        HOST may be [IPv6]
                             "tls:HOST:PORT"        TLS 1.2 or later; the certificate must be
                                                    HOST's, a name or an address; -EINVAL where
                                                    the library was built without TLS
                             "sentinel:MASTER@HOST:PORT,HOST:PORT..."  the sentinels are asked
                                                    for the master at each connection */
    const char *prefix;   /* all keys and channels in the engine begin with it: 1 to 64 of the
                             characters of name ("sf:") */
    const char *user;     /* NULL (default): the engine's default user */
    const char *password; /* NULL (default): no AUTH is sent */
    const char *ca_file;  /* of tls: PEM of who signs the engine's certificate; NULL: the
                             system's */
    const char *cert_file, *key_file; /* of tls: the client's own, PEM, the key without a
                             passphrase; both or none (NULL).  All three are read once, by create */
    int database;                     /* SELECT; 0 (default) to 65,535 */
    uint32_t lease_ms;   /* how long the key of a dead leader stays taken; 100 to 3,600,000
                            (3,000) */
    uint32_t max_age_ms; /* a leader's lease is not renewed once its fn has run for so long; at
                            least lease_ms, at most 86,400,000 (60,000) */
    uint32_t engine_timeout_ms; /* how long one answer of the engine is waited for before flying
                                   alone; 1 to 3,600,000 (250) */
    size_t max_value; /* bytes; a longer value stays in its process.  At most 2^28 (2^20) */
    bool (*publish)(void *ctx, int status); /* does a result with this status go to other processes?
                                   If not, one of those that wait runs its own.  Must return, and
                                   not call the library.  NULL (default): every status does */
    void *ctx;                              /* for publish */
    const sflight_options *group; /* of the group that the fleet owns: waiters, age, allocator,
                                     runtime ...; NULL (default): sflight_options_init()'s with
                                     SFLIGHT_ABANDON_TAKEOVER */
} sflight_fleet_options;

/* Fills *o with the defaults.  Always start from this: the struct may grow. */
SFLIGHT_PUBLIC void sflight_fleet_options_init(sflight_fleet_options *o);

/* -------------------------------------------------------------- lifecycle */

/*
 * Makes a fleet and stores it in *out; o is not kept.  Does not wait for the engine, nor say
 * whether it is there: see sflight_fleet_check().  Until the first connection stands calls wait for
 * it for options.engine_timeout_ms at most, then fly alone. Returns 0, -EINVAL (a NULL; an option
 * that is out of range or malformed; tls in a library without it; files that cannot be used),
 * -ENOMEM, -EMFILE, -ENFILE, -EAGAIN, -EPERM or -ENOSYS; on failure *out is NULL (where out is
 * not).
 */
SFLIGHT_PUBLIC int sflight_fleet_create(sflight_fleet **out, const sflight_fleet_options *o);

/*
 * Makes one flight with itself, of a key that nobody else uses: is the engine there, is it let in,
 * has it every right that it needs, do messages come.  Waits for the engine, until the deadline
 * (NULL: for ever).  For a program's start and its health page.  Of the numbers only those of the
 * engine's answers count it (published, commands ...).
 * why (may be NULL) gets what is wrong, or "", in at most n bytes with a NUL.
 * Returns 0, -EHOSTUNREACH (not so by the deadline, or refused: see why), -ESHUTDOWN, -EDEADLK,
 * -ENOMEM or -EINVAL.
 */
SFLIGHT_PUBLIC int sflight_fleet_check(sflight_fleet *f, const struct timespec *deadline, char *why,
                                       size_t n);

/*
 * Turns newcomers away (-ESHUTDOWN), waits until every call of this process has ended, writes what
 * is to be published, and gives leases back.  Returns 0 (again, if that is done already),
 * -ETIMEDOUT: not all has been done by the deadline, the fleet is closed all the same, and a later
 * call goes on waiting (so a thread that is to end calls itself, as an event loop that has permits,
 * closes with a deadline in the past, ends them, and closes again); -EDEADLK inside an fn of this
 * fleet, which is closed all the same, or on the engine thread, where nothing happens; -ENOMEM or
 * -EINVAL.
 */
SFLIGHT_PUBLIC int sflight_fleet_close(sflight_fleet *f, const struct timespec *deadline);

/*
 * Frees the fleet.  NULL is fine.  What was still to be published is given up, so close first.
 * Returns 0, -EBUSY (and nothing happens) while a call is in flight, a permit is outstanding, a
 * caller waits or a result is held, or -EDEADLK on the engine thread.  The caller makes sure that
 * no thread is inside a function of this fleet, sflight_fleet_complete() and _abandon() of its
 * permits included, or enters one.  The last fleet of an engine ends its thread, and waits for
 * that.
 */
SFLIGHT_PUBLIC int sflight_fleet_destroy(sflight_fleet *f);

/* ------------------------------------------------------- blocking callers */

/*
 * As sflight_do_until(), for the whole fleet.  fn and arg are used by the time this returns.
 * Uncontended it costs one round trip to the engine before fn, and one command after it, which
 * nobody waits for.  Followers of a call in this process cost the engine nothing.
 *
 * The deadline is for waiting: for the leader of this process, for the engine, for other
 * processes.  With one in the past nobody waits for the engine: -ETIMEDOUT, unless it is known to
 * be away, and so the process flies alone. Returns what sflight_do_until() does.  Also -EDEADLK on
 * the engine thread.
 */
SFLIGHT_PUBLIC int sflight_fleet_do(sflight_fleet *f, const void *key, size_t key_len,
                                    sflight_fn *fn, void *arg, const struct timespec *deadline,
                                    sflight_result *r);

/*
 * Makes the next caller of the key, in every process, begin a new flight, though one is under
 * way.  Asks the engine first, for options.engine_timeout_ms at most, then forgets the call of
 * this process.  The callers that wait in the process of the old run get its result; other
 * processes that wait begin or join a new flight (here a fleet differs from a group).
 * Returns 1 if a flight, or a call of this process, was forgotten; 0 if there was none;
 * -EHOSTUNREACH: the engine could not be asked, and only this process has forgotten the key, or
 * has not answered in that time, and may forget it later, with whoever leads then;
 * -ESHUTDOWN, -EDEADLK (on the engine thread), -ENOMEM or -EINVAL.
 */
SFLIGHT_PUBLIC int sflight_fleet_forget(sflight_fleet *f, const void *key, size_t key_len);

/* ------------------------------------------------------------ event loops */

/*
 * The same for callers that must not block.  *out is a future in any case (singleflight.h: poll,
 * fd, then, enqueue, drop).  lead(permit, arg) is called exactly once:
 *   - with a permit, if this process is to run the work for the key, in the name of this caller.
 *     The permit is handed on, to a loop or a pool, and ended by sflight_fleet_complete() or
 *     _abandon(), on any thread, also inside lead;
 *   - with NULL, when it is certain that no permit comes.
 * What arg points to must stay until lead is called, also where the future has been dropped; the
 * library does not use it afterwards.
 * lead is called before the future has its result: on the engine thread; or on the thread that ends
 * the call which this caller had joined; or inside this function, where the engine is not asked.
 * It must not block: blocking functions of the fleet say -EDEADLK on the engine thread, and
 * whatever blocks there holds up all flights of this process.  It must return (no exception, no end
 * of the thread), and in no child that it has forked.  Callbacks of sflight_future_then(), and
 * destroy, may run on the engine thread, too.
 *
 * A caller that joins a call of this process follows it.  Where options.group says
 * SFLIGHT_ABANDON_TAKEOVER, and the leader leaves at its deadline while it waits for the engine or
 * another process, or does not return from fn, and no blocking caller goes on, this one does, as if
 * it had just come.  A panic is -EOWNERDEAD to it, and `followers` of its result is 1.  The result
 * of a caller that led the call of this process from the beginning says `leader`, also where the
 * value was received.
 *
 * A future that is dropped does not call anything off: lead is called all the same.
 * Returns 0, -EAGAIN, -ENOMEM, -ESHUTDOWN or -EINVAL; on failure *out is NULL and lead is not
 * called.
 */
SFLIGHT_PUBLIC int sflight_fleet_start(sflight_fleet *f, const void *key, size_t key_len,
                                       void (*lead)(sflight_fleet_permit *permit, void *arg),
                                       void *arg, sflight_future **out);

/*
 * Ends the call: status and value go to everybody who waits, here and in other processes, and the
 * permit is gone.  value, of size bytes, belongs to the library from here on, as by
 * sflight_call_set(): destroy(value, size, ctx) runs exactly once (NULL: nothing to be done), on
 * whatever thread gives up the last hold, maybe inside this function.  value may be NULL, with size
 * 0. The bytes are copied for the other processes before this returns; sending them is not waited
 * for. Returns how many followers the call had in this process.
 */
SFLIGHT_PUBLIC uint32_t sflight_fleet_complete(sflight_fleet_permit *permit, int status,
                                               void *value, size_t size,
                                               sflight_destroy_fn *destroy, void *ctx);

/*
 * The same without a result: in this process as sflight_abandon(), and one of the other processes
 * that wait runs its own.
 */
SFLIGHT_PUBLIC uint32_t sflight_fleet_abandon(sflight_fleet_permit *permit);

/* The permit's key, valid while it lasts; *len (may be NULL) gets its length in bytes. */
SFLIGHT_PUBLIC const void *sflight_fleet_permit_key(const sflight_fleet_permit *permit,
                                                    size_t *len);

/* ---------------------------------------------------------------- numbers */
/*
 * A snapshot, each number exact when nothing moves.  Of this fleet in this process, but for those
 * of the engine thread, which its fleets share.
 */
typedef struct sflight_fleet_counters {
    size_t struct_size; /* set by sflight_fleet_stats() */
    /* calls of this process that had a leader here: each is counted in one of these ten */
    uint64_t led;           /* led the flight: fn ran here, for all */
    uint64_t received;      /* got the result of another process, or of another fleet of this one */
    uint64_t timed_out;     /* the leader left at its deadline before either */
    uint64_t alone_down;    /* flew alone: there was no connection */
    uint64_t alone_slow;    /* the engine did not answer within engine_timeout_ms */
    uint64_t alone_refused; /* the engine answered with an error: see sflight_fleet_last_error() */
    uint64_t alone_oversize; /* the key, or the flight's value, is too long for the engine */
    uint64_t alone_gave_up;  /* waited for other processes for as long as it may */
    uint64_t alone_forked;   /* this is the child of a fork */
    uint64_t alone_memory;   /* there was no memory to ask */
    /* what came of them */
    uint64_t joined;      /* callers that joined a call of this process */
    uint64_t published;   /* flights led here whose result the engine has taken */
    uint64_t refused;     /* results not published: the lease was another's, or gone */
    uint64_t unpublished; /* results not published, or nobody knows: the engine was away until it
                             was too late, or said an error */
    uint64_t unshared;    /* flights led here without a result for others: abandoned, panicked,
                             options.publish said so, or no memory to send it */
    uint64_t too_large;   /* flights led here whose value was longer than max_value: others are told
                             so, which is counted in one of the three above as a result is */
    uint64_t takeovers;   /* flights led here after waiting for another leader, whose lease had
                             ended, or who had no result for others */
    uint64_t leases_lost; /* leases found gone before their result was sent */
    uint64_t aged;        /* leases given up at max_age_ms, before that */
    uint64_t
        forgotten;     /* flights led here that sflight_fleet_forget(), of any process, has ended */
    uint64_t renewals; /* leases renewed */
    uint64_t rechecks; /* waits that asked the engine again */
    uint64_t recheck_hits; /* of these, those that found the result: its message was lost */
    uint64_t claim_ns_sum; /* from asking for a key to the engine's answer, ns */
    uint64_t claim_ns_max;
    /* of the engine thread */
    uint64_t commands;         /* sent, resent ones included */
    uint64_t pushes;           /* messages received */
    uint64_t bad_frames;       /* answers and messages that made no sense */
    uint64_t reconnects;       /* connections made again: for commands, */
    uint64_t inbox_reconnects; /* and for messages */
    /* now */
    uint64_t connected;   /* 1: the engine can be asked */
    uint64_t inbox_ready; /* 1: messages come */
    uint64_t leading;     /* flights led here whose end the engine has not been told */
    uint64_t waiting;     /* calls that wait for another process */
    uint64_t bytes;       /* memory for claims and values to be sent, the group's not included */
} sflight_fleet_counters;

/* Stores a snapshot in *out.  Does not wait.  Returns 0, or -EINVAL for a NULL. */
SFLIGHT_PUBLIC int sflight_fleet_stats(sflight_fleet *f, sflight_fleet_counters *out);

/*
 * For exporters: the name of the i-th number of *c, from 0 on, in the order of the struct; NULL
 * past the last, or past what *c has.  *value (may be NULL) gets it, and *now (may be NULL) whether
 * it may fall (a gauge) or only grow (a counter; claim_ns_max is one).
 */
SFLIGHT_PUBLIC const char *sflight_fleet_counter(const sflight_fleet_counters *c, unsigned i,
                                                 uint64_t *value, bool *now);

/*
 * The last error of the engine, or of connecting to it, in words, such as "NOPERM this user has no
 * permissions ...", or "" if there was none: copied into buf, of n bytes, cut, with a NUL.  Returns
 * buf, or "" if f or buf is NULL or n is 0.  It stays when the engine is well again: see
 * connected.
 */
SFLIGHT_PUBLIC const char *sflight_fleet_last_error(sflight_fleet *f, char *buf, size_t n);

/* ------------------------------------------------------- structs that grow */
/*
 * As in singleflight.h: later versions may add members at the end of the two structs above under
 * the same soname.  These are told how large their caller's are; for this header, and for
 * bindings that have no C compiler.
 */
#define SFLIGHT_FLEET_SIZE_OPTIONS 120
#define SFLIGHT_FLEET_SIZE_COUNTERS 288

SFLIGHT_PUBLIC void sflight_fleet_options_init_sized(sflight_fleet_options *o, size_t size);
SFLIGHT_PUBLIC int sflight_fleet_stats_sized(sflight_fleet *f, sflight_fleet_counters *out,
                                             size_t size);
SFLIGHT_PUBLIC int sflight_fleet_do_sized(sflight_fleet *f, const void *key, size_t key_len,
                                          sflight_fn *fn, void *arg,
                                          const struct timespec *deadline, sflight_result *r,
                                          size_t size);

#if defined(__GNUC__) && !defined(SFLIGHT_PLAIN)
extern void sflight_fleet_options_init_0_2(sflight_fleet_options *o)
    SFLIGHT_NAMED(sflight_fleet_options_init);
extern int sflight_fleet_stats_0_2(sflight_fleet *f, sflight_fleet_counters *out)
    SFLIGHT_NAMED(sflight_fleet_stats);
extern int sflight_fleet_do_0_2(sflight_fleet *f, const void *key, size_t key_len, sflight_fn *fn,
                                void *arg, const struct timespec *deadline, sflight_result *r)
    SFLIGHT_NAMED(sflight_fleet_do);

SFLIGHT_CALL void sflight_fleet_options_init(sflight_fleet_options *o)
{
    if (sizeof(*o) == SFLIGHT_FLEET_SIZE_OPTIONS)
        sflight_fleet_options_init_0_2(o);
    else
        sflight_fleet_options_init_sized(o, sizeof(*o));
}

SFLIGHT_CALL int sflight_fleet_stats(sflight_fleet *f, sflight_fleet_counters *out)
{
    return sizeof(*out) == SFLIGHT_FLEET_SIZE_COUNTERS
               ? sflight_fleet_stats_0_2(f, out)
               : sflight_fleet_stats_sized(f, out, sizeof(*out));
}

SFLIGHT_CALL int sflight_fleet_do(sflight_fleet *f, const void *key, size_t key_len, sflight_fn *fn,
                                  void *arg, const struct timespec *deadline, sflight_result *r)
{
    return sizeof(*r) == SFLIGHT_SIZE_RESULT
               ? sflight_fleet_do_0_2(f, key, key_len, fn, arg, deadline, r)
               : sflight_fleet_do_sized(f, key, key_len, fn, arg, deadline, r, sizeof(*r));
}
#endif

#ifdef __cplusplus
}
#endif
#endif /* SFLIGHT_FLEET_H */
