/* SPDX-License-Identifier: BSD-2-Clause */
#include "each.h"

#include "sizes.h"

#include <errno.h>

/* A copy of a call; its key follows. */
struct entry {
    sflight_info info;
    size_t bytes; /* with the key */
};

enum { FIRST_BYTES = 2048 }; /* of copies: more than most buckets have */

struct walk {
    struct sflight_group *group;
    uint64_t salt; /* of the process in which the walk is counted */
    char *copies;
    size_t size;
    size_t n_bytes; /* of copies; more than size: they were too many */
#if !EXIT_UNWINDS
    struct invoke_exit exit;
#endif
};

/* However visit has been left. */
static void walk_ends(void *arg)
{
    struct walk *w = arg;
    struct sflight_group *g = w->group;

    invoke_exited(&w->exit);
    struct slot *slot = thread_slot_again(g);
    alloc_put(&g->alloc, w->copies, w->size);
    if (w->salt == process_salt())
        gauges_count(slot, COUNT_BATCHES_ENDED); /* the last use of the group, which may go now */
}

/* After visit, which may have forked: a child has counted nothing of its parent's walk. */
static void walk_goes_on(struct walk *w)
{
    if (LIKELY(w->salt == process_salt()))
        return;
    gauges_count(thread_slot_again(w->group), COUNT_BATCHES);
    w->salt = process_salt();
}

static void copy_in_section(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct walk *w = ctx;
    uint64_t state = atomic_load_relaxed(&c->state); /* as it is shown; nothing hangs on it */
    size_t align = _Alignof(struct entry);
    size_t bytes = (sizeof(struct entry) + node->key_len + align - 1) & ~(align - 1);
    w->n_bytes += bytes;
    if (w->n_bytes > w->size)
        return;
    struct entry *copy = (struct entry *)(void *)(w->copies + w->n_bytes - bytes);
    copy->bytes = bytes;
    copy->info = (sflight_info){
        .key = {copy + 1, node->key_len},
        .age_ns = w->group->max_age_ns != 0 ? clock_now_ns() - c->started_ns : SFLIGHT_AGE_UNKNOWN,
        .kind = (int)call_kind(c),
        .blocking = state_blocking(state),
        .futures = state_async(state_with_joints(state, joint_more(call_joints(c)))),
        .forgotten = state & STATE_FORGOTTEN,
        .orphaned = state & STATE_ORPHAN,
    };
    memcpy(copy + 1, node->key, node->key_len);
}

/* Copies the calls of the bucket.  Not inlined: the thread may be another one each time. */
static NOINLINE int copy_bucket(struct walk *w, link_word *bucket)
{
    for (;;) {
        w->n_bytes = 0;
        struct lane *lane = reclaim_enter(thread_self.lane);
        table_look_in_section(bucket, copy_in_section, w);
        reclaim_leave(lane);
        if (LIKELY(w->n_bytes <= w->size))
            return 0;
        /* Nothing is allocated in a section: once more, with room for as many again. */
        size_t size = w->n_bytes < FIRST_BYTES ? FIRST_BYTES : 2 * w->n_bytes;
        alloc_put(&w->group->alloc, w->copies, w->size);
        w->size = 0;
        w->copies = alloc_get(&w->group->alloc, size, _Alignof(struct entry));
        if (w->copies == NULL)
            return -ENOMEM;
        w->size = size;
    }
}

int each_call(struct sflight_group *g, int (*visit)(const sflight_info *, void *), void *ctx)
{
    gauges_count(thread_slot(g), COUNT_BATCHES); /* keeps the group while this thread is in it */
    struct walk w __attribute__((cleanup(walk_ends))) = {.group = g, .salt = process_salt()};
    struct table_place at = {0};
    int rc = 0;

    invoke_exits(&w.exit, walk_ends, &w);
    for (link_word *bucket; rc == 0 && (bucket = table_next_bucket(&g->table, &at)) != NULL;) {
        rc = copy_bucket(&w, bucket);
        for (size_t done = 0; rc == 0 && done < w.n_bytes;) {
            const struct entry *copy = (const struct entry *)(const void *)(w.copies + done);
            union {
                sflight_info info;
                char room[SIZES_CALLBACK_INFO]; /* zero beyond what is known here */
            } shown = {.room = {0}};
            /* Not what stands behind the last member, of which a later one may be made. */
            memcpy(shown.room, &copy->info, SIZES_END(sflight_info, orphaned));
            done += copy->bytes;
            rc = visit(&shown.info, ctx);
            walk_goes_on(&w);
        }
    }
    return rc;
}
