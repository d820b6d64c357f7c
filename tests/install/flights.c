/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls of each kind in flight, for test_gdb.sh to look at. */
#include <pthread.h>
#include <singleflight.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sflight_group *group, *empty, *crowded;
static _Atomic int running;
static _Atomic unsigned turn; /* of those that join a call in turn */

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

static void begin_in(sflight_group *g, const char *key, size_t len)
{
    sflight_call *call;
    sflight_future *f;
    if (sflight_begin(g, key, len, &call, &f) != 0)
        abort();
}

static void begin(const char *key, size_t len)
{
    begin_in(group, key, len);
}

/* Two threads, 20 times each, so that both are counted by joints. */
static void *join_in_turn(void *second)
{
    for (unsigned i = second != NULL; i < 40; i += 2) {
        while (turn != i)
            usleep(10);
        begin_in(crowded, "crowded", 7);
        turn++;
    }
    return NULL;
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
    if (sflight_group_create(&group, &o) != 0 || sflight_group_create(&empty, NULL) != 0 ||
        sflight_group_create(&crowded, NULL) != 0)
        return EXIT_FAILURE;
    begin_in(crowded, "crowded", 7);
    pthread_create(&threads[0], NULL, join_in_turn, &turn);
    join_in_turn(NULL);
    pthread_join(threads[0], NULL);
    pthread_create(&threads[0], NULL, lead, NULL);
    while (running != 1)
        usleep(100);
    pthread_create(&threads[1], NULL, lead, NULL);
    pthread_create(&threads[2], NULL, lead, NULL);
    if (sflight_start(group, "started", 7, hang, NULL, &f) != 0)
        return EXIT_FAILURE;
    begin("a\"b\n", 4);
    begin("forgotten", 9);
    begin("forgotten", 9);
    (void)sflight_forget(group, "forgotten", 9);
    for (int i = 0; i < 100; i++) { /* the table grows */
        char key[12];
        begin(key, (size_t)snprintf(key, sizeof(key), "key %d", i));
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
