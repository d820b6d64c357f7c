/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for a key that is longer than TABLE_KEY_INLINE, of which one key after the other is kept.
 */
#ifndef SFLIGHT_KEY_H
#define SFLIGHT_KEY_H

#include "alloc.h"
#include "bytes.h"

struct key_memory {
    size_t capacity;
    unsigned char bytes[];
};

/* Is there room for a key of so many bytes?  memory: may be NULL. */
static inline bool key_has_room(const struct key_memory *memory, size_t len)
{
    return memory != NULL && memory->capacity >= len;
}

/* Can a record that has this memory be given a key of so many bytes, and nothing is allocated? */
static inline bool key_fits(const struct key_memory *memory, size_t len)
{
    return len <= BYTES_SHORT || key_has_room(memory, len);
}

/*
 * Makes *memory, which may be NULL, memory with room for so many bytes; what it was is given back.
 * False: there is none, and nothing has changed.
 */
bool key_make_room(struct key_memory **memory, struct alloc *alloc, size_t len);

/* Gives it back, if there is any. */
void key_drop(struct key_memory **memory, struct alloc *alloc);

#endif
