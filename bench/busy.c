/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * busy.c - hotkey, on a machine that has other things to do: everybody wants the
 * same key, 2, 8 and 64 threads, fn computes as much as takes 1, 10 or 100 us,
 * and there are
 *   0, 2 or 4 busy     processes of the same priority that compute all the time
 *   half a CPU         for the process, by a quota of its control group
 *   one CPU            for its threads, which are pinned to it; but for the one that ends a round
 * Threads go where the scheduler wants them.  A round lasts for many slices of the
 * scheduler's, and the median counts: a fast one is one that met nobody.
 *
 * The quota needs a control group with a controller for CPU time, version 1 or
 * 2, below or beside which this process may make another one; without, these
 * cases are left out.
 */
#include "lib/load.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bench_load load = {.n_order = 1};

/* ------------------------------------------------------------- the processes */

enum { MAX_BUSY = 4 };

static pid_t busy[MAX_BUSY];

static void busy_start(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pid_t parent = getpid();
        busy[i] = fork();
        BENCH_CHECK(busy[i] >= 0);
        if (busy[i] != 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent)
            bench_compute(1000000);
        _exit(0);
    }
}

static void busy_stop(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        kill(busy[i], SIGKILL);
        BENCH_CHECK(waitpid(busy[i], NULL, 0) == busy[i]);
    }
}

/* ------------------------------------------------------------------ the quota */

static char quota_dir[PATH_MAX]; /* the new group */
static int home_fd = -1;         /* cgroup.procs of the old one */

static bool put(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool all = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return all;
}

/* Makes a group below dir, gives it half a CPU, and moves there. */
static bool quota_in(const char *dir)
{
    snprintf(quota_dir, sizeof(quota_dir), "%.4000s/libsingleflight-busy-%d", dir, (int)getpid());
    if (mkdir(quota_dir, 0755) != 0)
        return false;
    bool limited =
        put(quota_dir, "cpu.max", "10000 20000") || (put(quota_dir, "cpu.cfs_period_us", "20000") &&
                                                     put(quota_dir, "cpu.cfs_quota_us", "10000"));
    if (limited && put(quota_dir, "cgroup.procs", "0"))
        return true;
    rmdir(quota_dir);
    return false;
}

/* Tries below the group that this process is in, and beside it. */
static bool quota_begin(void)
{
    char line[PATH_MAX], home[PATH_MAX + 64];
    bool found = false;
    FILE *groups = fopen("/proc/self/cgroup", "r");
    while (!found && groups != NULL && fgets(line, sizeof(line), groups) != NULL) {
        char *controllers = strchr(line, ':'), *path = strrchr(line, ':');
        if (controllers == path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool second = controllers[1] == '\0'; /* version 2 */
        if (!second && strcmp(controllers + 1, "cpu") != 0 &&
            strncmp(controllers + 1, "cpu,", 4) != 0)
            continue;
        snprintf(home, sizeof(home), "/sys/fs/cgroup%s%s%s/cgroup.procs", second ? "" : "/",
                 controllers + 1, path);
        home_fd = open(home, O_WRONLY | O_CLOEXEC);
        if (home_fd < 0)
            continue;
        for (int up = 0; up < 2 && !found; up++) {
            *strrchr(home, '/') = '\0';
            found = strcmp(home, "/sys/fs") != 0 && quota_in(home);
        }
        if (!found)
            close(home_fd);
    }
    if (groups != NULL)
        fclose(groups);
    return found;
}

static void quota_end(void)
{
    BENCH_CHECK(write(home_fd, "0", 1) == 1);
    close(home_fd);
    BENCH_CHECK(rmdir(quota_dir) == 0);
}

/* ------------------------------------------------------------------ the cases */

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    bench_load_round(&load, s, r);
}

static cpu_set_t all, one; /* CPUs; none in `one`: threads are not pinned */

/* Threads that are made then are pinned, too. */
static void pin(const cpu_set_t *cpus)
{
    if (CPU_COUNT(&one) != 0)
        BENCH_CHECK(sched_setaffinity(0, sizeof(*cpus), cpus) == 0);
}

/* What takes a microsecond, when nobody disturbs. */
static double turns_in_us(void)
{
    enum { TURNS = 100000 };
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 20; i++) {
        uint64_t begin = bench_now_ns();
        bench_compute(TURNS);
        uint64_t ns = bench_now_ns() - begin;
        least = ns < least ? ns : least;
    }
    return TURNS * 1000.0 / (double)least;
}

static void run_all(const char *where, double turns, struct bench_subject *s, size_t n)
{
    static const unsigned fn_us[] = {1, 10, 100};
    for (unsigned threads = 2; bench_wants(threads, 8) && threads <= 64;
         threads = threads == 2 ? 8 : threads * 8) {
        pin(&one);
        load.team = bench_team_create(threads);
        pin(&all);
        for (size_t i = 0; i < sizeof(fn_us) / sizeof(fn_us[0]); i++) {
            char label[64];
            snprintf(label, sizeof(label), "%s: fn %u us", where, fn_us[i]);
            load.fn_ns = fn_us[i] * 1000;
            load.fn_turns = (uint64_t)(fn_us[i] * turns);
            bench_groups_create(s, n, 0);
            bench_run(
                &(struct bench_case){
                    .label = label, .x = threads, .metrics = BENCH_LOAD_METRICS, .round = round_of},
                s, n);
            bench_groups_destroy(s, n);
        }
        bench_team_destroy(load.team);
    }
}

int main(int argc, char **argv)
{
    static const uint32_t only = 0;
    struct bench_subject s[BENCH_SUBJECTS];
    struct bench_key key;

    bench.rounds = 3;
    bench.round_ms = 80;
    bench.subjects = "singleflight,mutex1,mutex64,limit"; /* the best ports, or it takes too long */
    bench.scheduled = true;
    bench_begin(argc, argv, "busy",
                "What does a call cost when everybody wants the same key, and the CPUs are busy?");
    bench_key_set(&key, 42);
    load.keys = &key;
    load.order = &only;
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "limit", NULL, NULL);
    double turns = turns_in_us();

    for (unsigned n_busy = 0; n_busy <= MAX_BUSY; n_busy += 2) {
        char where[16];
        snprintf(where, sizeof(where), "%u busy", n_busy);
        busy_start(n_busy);
        run_all(where, turns, s, n);
        busy_stop(n_busy);
    }
    if (quota_begin()) {
        run_all("half a CPU", turns, s, n);
        quota_end();
    } else {
        printf("no control group for a quota of half a CPU: left out\n");
    }
    BENCH_CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
    CPU_SET((unsigned)sched_getcpu(), &one);
    run_all("one CPU", turns, s, n);
    return bench_end();
}
