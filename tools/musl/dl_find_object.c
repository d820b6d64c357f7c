/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Debian's musl-gcc only.  It links gcc's libgcc_eh.a, which is built against glibc and asks it
 * which object a program counter is in.  musl has no such function: this is it, on top of
 * dl_iterate_phdr(), which musl has.  Where gcc itself is built for musl nothing asks for it.
 */
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* As glibc's <dlfcn.h> has it, on x86-64 and arm64. */
struct dl_find_object {
    unsigned long long flags;
    void *map_start, *map_end; /* the end is outside */
    struct link_map *link_map;
    void *eh_frame; /* the segment PT_GNU_EH_FRAME */
    unsigned long long reserved[7];
};

int _dl_find_object(void *pc, struct dl_find_object *found);

struct search {
    uintptr_t pc;
    struct dl_find_object *found;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *s = arg;
    void *eh_frame = NULL;
    int is_in = 0;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_GNU_EH_FRAME)
            eh_frame = (void *)start;
        if (segment->p_type == PT_LOAD && s->pc - start < segment->p_memsz) {
            is_in = 1;
            *s->found = (struct dl_find_object){.map_start = (void *)start,
                                                .map_end = (void *)(start + segment->p_memsz)};
        }
    }
    s->found->eh_frame = eh_frame;
    return is_in && eh_frame != NULL;
}

/* Returns 0 and fills *found; or -1. */
int _dl_find_object(void *pc, struct dl_find_object *found)
{
    struct search s = {(uintptr_t)pc, found};

    return dl_iterate_phdr(look_at, &s) != 0 ? 0 : -1;
}
