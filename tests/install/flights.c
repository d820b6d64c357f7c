/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls of each kind in flight, for test_gdb.sh to look at. */
#include <pthread.h>
#include <singleflight.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sflight_group *group, *empty;
static _Atomic int running;

static int hang(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    running++;
    for (;;)
        pause();
}

static void *lead(void *arg)
{
    sflight_result r;
    (void)sflight_do(group, "led", 3, hang, arg, &r);
    return NULL;
}

static sflight_future *begin(const char *key, size_t len)
{
    sflight_call *call;
    sflight_future *f;
    if (sflight_begin(group, key, len, &call, &f) != 0)
        abort();
    return f;
}

/* Where the debugger stops. */
__attribute__((noinline)) void all_in_flight(void)
{
    __asm__ __volatile__("");
}

int main(void)
{
    sflight_options o;
    sflight_future *f;
    sflight_stats stats;
    pthread_t threads[3];

    sflight_options_init(&o);
    o.shards = 2;
    o.expected_inflight = 1;
    o.max_age_ns = UINT64_C(1) << 62;
    if (sflight_group_create(&group, &o) != 0 || sflight_group_create(&empty, NULL) != 0)
        return EXIT_FAILURE;
    pthread_create(&threads[0], NULL, lead, NULL);
    while (running != 1)
        usleep(100);
    pthread_create(&threads[1], NULL, lead, NULL);
    pthread_create(&threads[2], NULL, lead, NULL);
    if (sflight_start(group, "started", 7, hang, NULL, &f) != 0)
        return EXIT_FAILURE;
    (void)begin("a\"b\n", 4);
    (void)begin("forgotten", 9);
    (void)begin("forgotten", 9);
    (void)sflight_forget(group, "forgotten", 9);
    for (int i = 0; i < 100; i++) { /* the table grows */
        char key[12];
        (void)begin(key, (size_t)snprintf(key, sizeof(key), "key %d", i));
    }
    do {
        usleep(100);
        (void)sflight_group_stats(group, &stats);
    } while (running != 2 || stats.waiting != 3);
    all_in_flight();
    if (getenv("STAYS") != NULL) {
        puts("ready");
        fflush(stdout);
        for (;;)
            pause();
    }
    return EXIT_SUCCESS;
}
