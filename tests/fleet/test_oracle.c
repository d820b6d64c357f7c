/* SPDX-License-Identifier: BSD-2-Clause */
/* The oracle of chaos: it has nothing against a good log, and sees what is wrong in each bad one.
 */
#include "chaos_log.h"

static struct log *written;

static uint32_t run(unsigned incarnation, unsigned key, uint64_t begin_ms, uint64_t end_ms)
{
    uint32_t n = written->n_runs++;
    written->runs[n] = (struct run){.incarnation = (uint16_t)incarnation,
                                    .key = (uint8_t)key,
                                    .status = (int)n,
                                    .begin_ns = begin_ms * MS_NS,
                                    .end_ns = end_ms * MS_NS};
    return n;
}

static struct call *call(unsigned incarnation, unsigned key, uint32_t of, uint64_t begin_ms,
                         uint64_t end_ms)
{
    struct call *c = &written->calls[written->n_calls++];
    *c = (struct call){.incarnation = (uint16_t)incarnation,
                       .key = (uint8_t)key,
                       .is_value = true,
                       .leader = written->runs[of].incarnation == incarnation,
                       .status = written->runs[of].status,
                       .run = of,
                       .begin_ns = begin_ms * MS_NS,
                       .end_ns = end_ms * MS_NS};
    return c;
}

static void settled(unsigned incarnation, unsigned key, uint64_t explained, uint64_t at_ms)
{
    struct sample *s = &written->samples[written->n_samples++];
    s->incarnation = (uint16_t)incarnation;
    s->key = (uint8_t)key;
    s->explained = explained;
    s->ns = at_ms * MS_NS;
}

/* Two flights for key 0: process 0 leads one, which 1 gets, too, and 1 the next one. */
static void good(void)
{
    uint32_t first = run(0, 0, 1000, 1010), second = run(1, 0, 1020, 1030);
    call(0, 0, first, 999, 1011);
    call(1, 0, first, 1005, 1012);
    call(1, 0, second, 1019, 1031);
    settled(0, 0, 0, 1012);
    settled(1, 0, 0, 1032);
    written->n_incarnations = 3;
    for (unsigned i = 0; i < 2; i++) {
        written->incarnations[i].has_closed = true;
        written->incarnations[i].counters[0] =
            (sflight_fleet_counters){.led = 1, .published = 1, .received = i};
    }
}

static void a_value_of_no_run(void)
{
    written->calls[1].is_value = false;
}

static void a_value_of_another_key(void)
{
    written->calls[1].run = run(2, 1, 1000, 1010);
}

static void a_status_of_another_run(void)
{
    written->calls[1].status++;
}

static void a_leader_elsewhere(void)
{
    written->calls[1].leader = true;
}

static void a_run_that_its_process_had(void)
{
    call(2, 0, 0, 1003, 1020);
    call(2, 0, 0, 1021, 1025);
}

static void a_run_that_its_own_process_had(void)
{
    call(0, 0, 0, 1012, 1013)->leader = false;
}

static void a_run_that_others_had(void)
{
    call(2, 0, 0, 1013, 1014);
}

static void a_run_of_long_ago(void)
{
    written->calls[1].begin_ns = (1010 + 2 * LEASE_MS + 6) * MS_NS;
    written->calls[1].end_ns = 3000 * MS_NS;
}

static void a_run_that_has_not_ended(void)
{
    written->runs[0].end_ns = 0;
}

static void a_run_that_was_forgotten(void)
{
    written->forgets[0] = (struct forget){0, 1, 1001 * MS_NS, 1004 * MS_NS};
    written->n_forgets = 1;
}

static void an_overlap(void)
{
    written->runs[1].begin_ns = 1009 * MS_NS;
}

static void a_call_that_does_not_return(void)
{
    written->calls[1].end_ns = 0;
}

static void a_time_out_before_its_time(void)
{
    written->calls[1].rc = -ETIMEDOUT;
    written->calls[1].deadline_ns = 1013 * MS_NS;
}

static void a_time_out_without_a_deadline(void)
{
    written->calls[1].rc = -ETIMEDOUT;
}

static void an_error(void)
{
    written->calls[1].rc = -EIO;
}

static void a_run_that_nobody_counts(void)
{
    run(1, 0, 1040, 1050);
}

static void a_flight_without_an_end(void)
{
    written->incarnations[0].counters[0].published = 0;
}

static void a_result_too_many(void)
{
    written->incarnations[0].counters[0].received = 1;
}

static void a_call_that_nobody_counts(void)
{
    written->incarnations[1].counters[0].received = 0;
}

static void a_claim_that_is_left(void)
{
    written->incarnations[1].counters[0].waiting = 1;
}

static void memory_that_is_left(void)
{
    written->incarnations[1].counters[0].bytes = 1;
}

static const struct {
    const char *name;
    void (*change)(void);
} bad[] = {
#define BAD(change)                                                                                \
    {                                                                                              \
#change, change                                                                            \
    }
    BAD(a_value_of_no_run),
    BAD(a_value_of_another_key),
    BAD(a_status_of_another_run),
    BAD(a_leader_elsewhere),
    BAD(a_run_that_its_process_had),
    BAD(a_run_that_its_own_process_had),
    BAD(a_run_that_others_had),
    BAD(a_run_of_long_ago),
    BAD(a_run_that_has_not_ended),
    BAD(a_run_that_was_forgotten),
    BAD(an_overlap),
    BAD(a_call_that_does_not_return),
    BAD(a_time_out_before_its_time),
    BAD(a_time_out_without_a_deadline),
    BAD(an_error),
    BAD(a_run_that_nobody_counts),
    BAD(a_flight_without_an_end),
    BAD(a_result_too_many),
    BAD(a_call_that_nobody_counts),
    BAD(a_claim_that_is_left),
    BAD(memory_that_is_left),
};

static unsigned wrong_with(void (*change)(void))
{
    struct oracle o;
    written = shared_memory(sizeof *written);
    good();
    if (change != NULL)
        change();
    oracle_check(&o, written);
    munmap(written, sizeof *written);
    return o.n_wrong;
}

static void a_good_log(void **state)
{
    (void)state;
    assert_int_equal(wrong_with(NULL), 0);
}

static void every_bad_log(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(bad); i++) {
        unsigned n = wrong_with(bad[i].change);
        if (n == 0)
            fprintf(stderr, "# the oracle misses %s\n", bad[i].name);
        assert_true(n > 0);
    }
}

/* What the oracle must let pass. */

static void an_overlap_that_is_counted(void)
{
    written->runs[1].begin_ns = 1009 * MS_NS;
    written->samples[0].explained = 1;
}

static void an_overlap_with_a_killed_process(void)
{
    written->runs[0].end_ns = 0;
    written->incarnations[0].has_closed = false;
    written->incarnations[0].killed_ns = 1025 * MS_NS;
    written->calls[0].end_ns = 0;
    written->calls[1].run = 1; /* who waits takes over */
    written->calls[1].status = 1;
    written->calls[1].leader = true;
    written->calls[1].end_ns = written->calls[2].end_ns;
    written->incarnations[1].counters[0] =
        (sflight_fleet_counters){.led = 1, .published = 1, .joined = 1};
}

static void a_caller_before_a_forget(void)
{
    written->forgets[0] = (struct forget){0, 1, 1006 * MS_NS, 1007 * MS_NS};
    written->n_forgets = 1;
}

static void what_is_no_fault(void **state)
{
    (void)state;
    assert_int_equal(wrong_with(an_overlap_that_is_counted), 0);
    assert_int_equal(wrong_with(an_overlap_with_a_killed_process), 0);
    assert_int_equal(wrong_with(a_caller_before_a_forget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_log),
        cmocka_unit_test(every_bad_log),
        cmocka_unit_test(what_is_no_fault),
    };
    return RUN_TESTS(tests);
}
