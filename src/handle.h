/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What users have in their hands: permits, futures, and the holds of results.  In a debug build
 * (-DSFLIGHT_DEBUG) each is a HANDLE, which names a record of the library and knows whether it
 * may still be used; whoever uses one that is over aborts with one line (require.h), before any
 * record is touched.  In other builds a handle is the record itself, and all of this is nothing.
 *
 *     LIVE --then, enqueue--> GIVEN --delivered, cancel--> OVER
 *      |                                                    ^
 *      +-----complete, abandon, get, poll, drop, release----+
 *
 * Handles are the process's own memory and are never freed.  One that is over stays so until
 * HANDLES_KEPT more are; then it is used again, and what was done wrong with it is not noticed.
 */
#ifndef SFLIGHT_HANDLE_H
#define SFLIGHT_HANDLE_H

#include "require.h"

enum handle_kind {
    HANDLE_PERMIT,
    HANDLE_FUTURE,
    HANDLE_RESULT,
};

#ifdef SFLIGHT_DEBUG

enum { HANDLES_KEPT = 16384 };

/* A live handle for the record.  Outside of sections. */
void *handle_new(enum handle_kind kind, void *record);

/*
 * The record of a live handle; aborts if it is not one.  function: the user's, as are those
 * below.
 */
void *handle_record(enum handle_kind kind, void *handle, const char *function);

/* The same, and the handle is over from here on; of several threads one gets the record. */
void *handle_end(enum handle_kind kind, void *handle, const char *function);

/* The record of a permit; of a call in whose fn the caller is, which is no handle, the same. */
void *handle_call(const void *call, const char *function);

/* The same for a future that is about to be given to a callback or a queue; false: it was not. */
void *handle_give(void *handle, const char *function);
void handle_given(void *handle, bool given);

/* The record of a future that may have been given, and the end of one that has been taken back. */
void *handle_to_cancel(void *handle);
void handle_cancelled(void *handle);

/* Another record takes its record's place. */
void handle_moved(void *handle, void *record);

/*
 * What a future was given for comes; if it has been handed out, and is still that record's.
 * by: the user's function that it comes in.
 */
void handle_delivered(void *handle, const void *record, const char *by);

#else

#define handle_new(kind, record) (record)
#define handle_record(kind, handle, function) (handle)
#define handle_end(kind, handle, function) (handle)
#define handle_call(call, function) (call)
#define handle_give(handle, function) (handle)
#define handle_given(handle, given) ((void)0)
#define handle_to_cancel(handle) (handle)
#define handle_cancelled(handle) ((void)0)
#define handle_delivered(handle, record, by) ((void)0)

#endif
#endif
