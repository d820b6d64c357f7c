/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared library brought in by dlopen() and let go by dlclose(), while
 * threads that have used it live on: their ends still run its code.
 *
 * This program is not linked with the library; SFLIGHT_SO names the file.
 */
#include "../lib/api_test.h"

#include <dlfcn.h>

/* A function's address as dlsym() gives it, without a cast that ISO C lacks. */
#define LOAD(library, name) load(library, #name, &(name##_), sizeof(name##_))

static int (*sflight_group_create_)(sflight_group **, const sflight_options *);
static int (*sflight_group_destroy_)(sflight_group *);
static int (*sflight_do_)(sflight_group *, const void *, size_t, sflight_fn *, void *,
                          sflight_result *);
static void (*sflight_result_release_)(sflight_result *);
static const char *(*sflight_version_)(void);

static void load(void *library, const char *name, void *pointer, size_t size)
{
    void *address = dlsym(library, name);
    assert_non_null(address);
    assert_int_equal(size, sizeof address);
    memcpy(pointer, &address, size);
}

static void *library_open(void)
{
    void *library = dlopen(SFLIGHT_SO, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail_msg("%s", dlerror());
    LOAD(library, sflight_group_create);
    LOAD(library, sflight_group_destroy);
    LOAD(library, sflight_do);
    LOAD(library, sflight_result_release);
    LOAD(library, sflight_version);
    return library;
}

static void use(sflight_group *g)
{
    sflight_result r;
    assert_int_equal(sflight_do_(g, "key", 3, return_7, NULL, &r), 0);
    assert_int_equal(r.status, 7);
    sflight_result_release_(&r);
}

struct user {
    atomic_bool used, may_end;
    pthread_t thread;
};

static void *use_and_live_on(void *arg)
{
    struct user *u = arg;
    sflight_group *g = NULL;
    assert_int_equal(sflight_group_create_(&g, NULL), 0);
    use(g);
    assert_int_equal(sflight_group_destroy_(g), 0);
    atomic_store(&u->used, true);
    WAIT_UNTIL(u->may_end);
    return NULL;
}

static void threads_end_after_dlclose(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct user users[3] = {{.used = false}};
        void *library = library_open();
        for (size_t i = 0; i < LENGTH(users); i++)
            users[i].thread = thread_start(use_and_live_on, &users[i]);
        for (size_t i = 0; i < LENGTH(users); i++)
            WAIT_UNTIL(users[i].used);
        assert_int_equal(dlclose(library), 0);
        for (size_t i = 0; i < LENGTH(users); i++) {
            atomic_store(&users[i].may_end, true);
            thread_join(users[i].thread);
        }
    }
}

static void a_group_survives_dlclose_and_dlopen(void **state)
{
    (void)state;
    void *library = library_open();
    sflight_group *g = NULL;
    assert_int_equal(sflight_group_create_(&g, NULL), 0);
    use(g);
    assert_int_equal(dlclose(library), 0);
    library = library_open();
    use(g);
    assert_int_equal(sflight_group_destroy_(g), 0);
    assert_int_equal(dlclose(library), 0);
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", SFLIGHT_VERSION_MAJOR, SFLIGHT_VERSION_MINOR,
             SFLIGHT_VERSION_PATCH);
    void *library = library_open();
    assert_string_equal(sflight_version_(), version);
    assert_int_equal(dlclose(library), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_end_after_dlclose),
        cmocka_unit_test(a_group_survives_dlclose_and_dlopen),
        cmocka_unit_test(the_version_is_that_of_the_header),
    };
    return RUN_TESTS(tests);
}
