/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explore [SCENARIO] [options]: runs the library's own source under every kind
 * of schedule; see README.md.
 */
#include "door.h"
#include "rules.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS = 20000, MAX_CHILDREN = 16, MAX_SCENARIOS = 256 };

static const struct scenario *const lists[] = {scenarios_blocking, scenarios_async,
                                               scenarios_life,     scenarios_tasks,
                                               scenarios_alone,    scenarios_stall};
static const struct scenario *scenarios[MAX_SCENARIOS];
static unsigned n_scenarios;

static struct {
    uint64_t first, n_seeds;
    bool random, exhaustive, trace, only_one, stop;
    unsigned preemptions; /* instead of the scenario's */
    unsigned at_once;
} options = {1, SEEDS, true, true, false, false, false, 0, 2};

static const struct scenario *current;

static bool seeds_mean_something(const struct scenario *scenario)
{
    return scenario->percent == 0 && scenario->preemptions == 0;
}

static void run_body(void *arg)
{
    memset(&world, 0, sizeof(world));
    memset(asks, 0, sizeof(asks));
    ((const struct scenario *)arg)->body();
}

static void run_once(const struct sched_plan *plan)
{
    door_reset();
    sched_run(plan, run_body, (void *)(uintptr_t)current);
    if (!world.leaks)
        door_check_end();
}

static void failed(void)
{
    static char choices[1 << 16];
    switch (sched.plan.strategy) {
    case BY_EXHAUSTION:
        if (seeds_mean_something(current)) {
            fprintf(stderr, "# again: explore %s --seed %llu\n", current->name,
                    (unsigned long long)sched.plan.seed);
            break;
        }
        sched_print_choices(choices, sizeof(choices));
        fprintf(stderr, "# again: explore %s --preemptions %u --choices %s\n", current->name,
                sched.plan.preemptions, choices);
        break;
    default:
        fprintf(stderr, "# again: explore %s --seed %llu\n", current->name,
                (unsigned long long)sched.plan.seed);
    }
    fflush(stderr);
    _exit(1);
}

static void on_signal(int sig)
{
    explore_fail("signal %d", sig);
}

static void catch_signals(void)
{
    static char stack[1 << 16];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    (void)sigaltstack(&alternative, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
    (void)sigaction(SIGABRT, &action, NULL);
}

static struct sched_plan plan_of_seed(uint64_t seed)
{
    return (struct sched_plan){.strategy = seed % 2 ? BY_RANDOM : BY_PRIORITY,
                               .seed = seed,
                               .calm = seed % 8 >= 6,
                               .trace = options.trace};
}

/* All runs of a scenario whose seeds mean something. */
static void run_each(const struct scenario *scenario, unsigned number)
{
    unsigned long long n = 0;

    for (uint64_t seed = options.first; seed != 0; n++) {
        struct sched_plan plan = {.strategy = BY_EXHAUSTION, .seed = seed, .trace = options.trace};
        sched_forget_choices();
        run_once(&plan);
        seed = options.only_one ? 0 : stall_next(seed);
    }
    printf("ok %u - %s: all %llu runs\n", number, scenario->name, n);
}

/* Prints one line for each kind of schedule; a failure ends the process. */
static void run_scenario(const struct scenario *scenario, unsigned number)
{
    current = scenario;
    if (seeds_mean_something(scenario)) {
        if (options.exhaustive)
            run_each(scenario, number);
        return;
    }
    if (options.random) {
        unsigned percent = scenario->percent != 0 ? scenario->percent : 100;
        uint64_t n = options.only_one ? 1 : options.n_seeds * percent / 100;
        uint64_t steps = 0;
        for (uint64_t seed = options.first; seed - options.first < n; seed++) {
            struct sched_plan plan = plan_of_seed(seed);
            run_once(&plan);
            steps += sched.n_steps;
        }
        printf("ok %u - %s: %llu random schedules, %llu steps\n", number++, scenario->name,
               (unsigned long long)n, (unsigned long long)steps);
    }
    unsigned preemptions = options.preemptions ? options.preemptions : scenario->preemptions;
    if (options.exhaustive && preemptions != 0 && !options.only_one) {
        struct sched_plan plan = {.strategy = BY_EXHAUSTION, .preemptions = preemptions};
        unsigned long long n = 0;
        sched_forget_choices();
        do {
            run_once(&plan);
            n++;
        } while (sched_next());
        printf("ok %u - %s: all %llu schedules with at most %u preemptions\n", number,
               scenario->name, n, preemptions);
    }
}

static unsigned n_lines(const struct scenario *scenario)
{
    if (seeds_mean_something(scenario))
        return options.exhaustive;
    return (options.random && scenario->percent != 0 ? 1u : 0) +
           (options.exhaustive && (options.preemptions || scenario->preemptions) ? 1u : 0);
}

static const struct scenario *find(const char *name)
{
    for (unsigned i = 0; i < n_scenarios; i++)
        if (strcmp(scenarios[i]->name, name) == 0)
            return scenarios[i];
    fprintf(stderr, "explore: no scenario %s (--list lists them)\n", name);
    exit(2);
}

/* The seeds of a file; a failure ends the process. */
static void run_again(FILE *file)
{
    char name[64];
    unsigned long long seed;
    unsigned n = 0;

    for (char line[128]; fgets(line, sizeof(line), file) != NULL;) {
        if (sscanf(line, "%63s %llu", name, &seed) != 2 || name[0] == '#')
            continue;
        current = find(name);
        struct sched_plan plan = plan_of_seed(seed);
        run_once(&plan);
        n++;
    }
    printf("ok 1 - %u schedules that failed once\n", n);
    fflush(stdout);
}

/* The same in a process of its own. */
static bool passes_again(FILE *file)
{
    int status;
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        catch_signals();
        run_again(file);
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("not ok 1 - schedules that failed once\n");
    fflush(stdout);
    return false;
}

/*
 * First the seeds of a file, or NULL; then the scenarios, each in a process of its
 * own, so that others go on when one fails.
 */
static int run_all(FILE *again)
{
    static struct {
        pid_t pid; /* 0: it has ended */
        int status;
        FILE *out;
    } children[MAX_SCENARIOS];
    unsigned number = 1, failures = 0, n_running = 0, total = again != NULL ? 1 : 0;

    for (unsigned i = 0; i < n_scenarios; i++)
        total += n_lines(scenarios[i]);
    printf("1..%u\n", total);
    fflush(stdout);
    if (again != NULL) {
        failures += !passes_again(again);
        number++;
    }
    unsigned n = 0; /* the others run only when they are named */
    for (unsigned i = 0; i < n_scenarios; i++)
        if (n_lines(scenarios[i]) != 0)
            scenarios[n++] = scenarios[i];
    n_scenarios = n;
    for (unsigned i = 0, first = 0; first < n_scenarios;) {
        if (i < n_scenarios && n_running < options.at_once) {
            FILE *out = tmpfile();
            if (out == NULL)
                abort();
            pid_t pid = fork();
            if (pid < 0)
                abort();
            if (pid == 0) {
                (void)dup2(fileno(out), STDOUT_FILENO);
                catch_signals();
                run_scenario(scenarios[i], number);
                fflush(stdout);
                _exit(0);
            }
            children[i].pid = pid;
            children[i].out = out;
            number += n_lines(scenarios[i]);
            n_running++;
            i++;
            continue;
        }
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        for (unsigned k = first; k < i; k++)
            if (children[k].pid == pid) {
                children[k].pid = 0;
                children[k].status = status;
            }
        n_running--;
        /* What they say comes in order. */
        for (; first < i && children[first].pid == 0; first++) {
            FILE *out = children[first].out;
            rewind(out);
            for (int c; (c = fgetc(out)) != EOF;)
                putchar(c);
            fclose(out);
            status = children[first].status;
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                printf("not ok - %s\n", scenarios[first]->name);
                failures++;
            }
            fflush(stdout);
        }
        if (options.stop && failures != 0)
            break;
    }
    return failures != 0;
}

static void usage(void)
{
    fprintf(stderr, "explore [SCENARIO] [--list] [--seeds N] [--first N] [--seed N] [--trace]\n"
                    "        [--again FILE] [--random] [--exhaustive] [--preemptions N] [--choices "
                    "C] [--at-once N] [--stop]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    const struct scenario *only = NULL;
    const char *choices = NULL;
    FILE *again = NULL;

    for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (const struct scenario *l = lists[i]; l->name != NULL; l++) {
            if (n_scenarios == MAX_SCENARIOS)
                abort();
            scenarios[n_scenarios++] = l;
        }
    sched_failed = failed;
    setvbuf(stderr, NULL, _IOFBF, 1 << 16);
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(arg, "--list") == 0) {
            for (unsigned k = 0; k < n_scenarios; k++)
                puts(scenarios[k]->name);
            return 0;
        } else if (strcmp(arg, "--trace") == 0) {
            options.trace = true;
        } else if (strcmp(arg, "--stop") == 0) {
            options.stop = true; /* at the first scenario that fails */
        } else if (strcmp(arg, "--random") == 0) {
            options.exhaustive = false;
        } else if (strcmp(arg, "--exhaustive") == 0) {
            options.random = false;
        } else if (arg[0] != '-') {
            only = find(arg);
        } else if (value == NULL) {
            usage();
        } else {
            i++;
            if (strcmp(arg, "--again") == 0) {
                again = fopen(value, "r");
                if (again == NULL) {
                    perror(value);
                    return 2;
                }
            } else if (strcmp(arg, "--seeds") == 0)
                options.n_seeds = strtoull(value, NULL, 10);
            else if (strcmp(arg, "--first") == 0)
                options.first = strtoull(value, NULL, 10);
            else if (strcmp(arg, "--seed") == 0)
                options.first = strtoull(value, NULL, 10), options.only_one = true;
            else if (strcmp(arg, "--preemptions") == 0)
                options.preemptions = (unsigned)strtoul(value, NULL, 10);
            else if (strcmp(arg, "--choices") == 0)
                choices = value;
            else if (strcmp(arg, "--at-once") == 0)
                options.at_once = (unsigned)strtoul(value, NULL, 10);
            else
                usage();
        }
    }
    if (options.at_once < 1 || options.at_once > MAX_CHILDREN || (only != NULL && again != NULL))
        usage();
    if (only == NULL)
        return run_all(again);
    catch_signals();
    if (choices != NULL) {
        current = only;
        struct sched_plan plan = {
            .strategy = BY_EXHAUSTION, .preemptions = options.preemptions, .trace = options.trace};
        if (!sched_set_choices(choices))
            usage();
        run_once(&plan);
        puts("ok");
    } else {
        run_scenario(only, 1);
    }
    fflush(stdout);
    _exit(0); /* the library's destructor is for a thread of a run, and there is none any more */
}
