/* SPDX-License-Identifier: BSD-2-Clause */
#include "fleet.h"

#include <errno.h>
#include <string.h>

#define AT(name, is_gauge)                                                                         \
    _Static_assert(offsetof(sflight_fleet_counters, name) ==                                       \
                       sizeof(size_t) + COUNT_##name * sizeof(uint64_t),                           \
                   "the counts stand in the order of the struct");
COUNTS(AT)
#undef AT
_Static_assert(sizeof(sflight_fleet_counters) == SFLIGHT_FLEET_SIZE_COUNTERS, "as in 0.2");

int sflight_fleet_stats_sized(sflight_fleet *f, sflight_fleet_counters *out, size_t size)
{
    struct member *m;
    sflight_fleet_counters full;
    sflight_stats group;
    uint64_t numbers[COUNT_N];

    if (f == NULL || out == NULL || size < sizeof(out->struct_size))
        return -EINVAL;
    m = &f->member;
    for (int i = 0; i < COUNT_N; i++) {
        numbers[i] = count_read(&m->counts, (enum count)i);
        /* An engine's thread is not the child's: what it has counted stands still there. */
        numbers[i] += count_read(engine_counts(m->engine), (enum count)i);
    }
    (void)sflight_group_stats_sized(m->group, &group, sizeof(group));
    numbers[COUNT_joined] = group.joined;
    if (!engine_is_ours(m))
        numbers[COUNT_connected] = numbers[COUNT_inbox_ready] = 0;
    full.struct_size = size;
    memcpy((char *)&full + sizeof(full.struct_size), numbers, sizeof(numbers));
    memset(out, 0, size);
    memcpy(out, &full, size < sizeof(full) ? size : sizeof(full));
    return 0;
}

int sflight_fleet_stats(sflight_fleet *f, sflight_fleet_counters *out)
{
    return sflight_fleet_stats_sized(f, out, SFLIGHT_FLEET_SIZE_COUNTERS);
}

const char *sflight_fleet_counter(const sflight_fleet_counters *c, unsigned i, uint64_t *value,
                                  bool *now)
{
#define NAME(name, is_gauge) {#name, is_gauge},
    static const struct {
        const char *name;
        bool is_gauge;
    } counters[] = {COUNTS(NAME)};
#undef NAME
    size_t at = sizeof(c->struct_size) + i * sizeof(uint64_t);

    if (c == NULL || i >= COUNT_N || at + sizeof(uint64_t) > c->struct_size)
        return NULL;
    if (value != NULL)
        memcpy(value, (const char *)c + at, sizeof(*value));
    if (now != NULL)
        *now = counters[i].is_gauge;
    return counters[i].name;
}

const char *sflight_fleet_last_error(sflight_fleet *f, char *buf, size_t n)
{
    if (f == NULL || buf == NULL || n == 0)
        return "";
    buf[0] = '\0';
    if (engine_is_ours(&f->member)) /* in a child its lock may be held for ever */
        engine_last_error(f->member.engine, buf, n);
    return buf;
}
