/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared library brought in by dlopen() and let go by dlclose(), while
 * threads that have used it live on: their ends still run its code.
 *
 * And plugins that have the archive inside: many copies of it at once, late, and gone before the
 * threads that have used them.
 *
 * This program is not linked with the library; SFLIGHT_SO names the file, PLUGIN a plugin
 * linked as singleflight.pc says, PLUGIN_DELETE one that is not kept by the linker's nodelete.
 */
#include "../lib/api_test.h"

#include <dlfcn.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ------------------------------------------------------------------- plugins */

enum { N_PLUGINS = 64 };

/* A copy under another name is another library to the dynamic linker. */
static void copy_file(const char *from, const char *to)
{
    char buffer[65536];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(buffer, 1, sizeof buffer, in)) != 0)
        assert_int_equal(fwrite(buffer, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void *plugin_copy(const char *plugin, int i)
{
    char name[512];
    snprintf(name, sizeof name, "%s.%d.%d", plugin, (int)getpid(), i);
    copy_file(plugin, name);
    void *copy = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (copy == NULL)
        print_error("%s\n", dlerror());
    unlink(name);
    assert_non_null(copy);
    return copy;
}

static int plugin_run(void *plugin)
{
    int (*run)(void);
    load(plugin, "plugin_run", &run, sizeof run);
    return run();
}

static void many_plugins_have_the_archive(void **state)
{
    (void)state;
    void *plugins[N_PLUGINS];
    for (int i = 0; i < N_PLUGINS; i++)
        plugins[i] = plugin_copy(PLUGIN, i);
    for (int i = 0; i < N_PLUGINS; i++)
        assert_int_equal(plugin_run(plugins[i]), 7);
    for (int i = 0; i < N_PLUGINS; i++)
        assert_int_equal(dlclose(plugins[i]), 0);
}

struct plugin_user {
    void *plugin;
    struct user user;
};

static void *use_plugin_and_live_on(void *arg)
{
    struct plugin_user *u = arg;
    assert_int_equal(plugin_run(u->plugin), 7);
    atomic_store(&u->user.used, true);
    WAIT_UNTIL(u->user.may_end);
    return NULL;
}

/* More often than there are thread-specific keys in a process. */
static void plugins_go_before_their_threads(void **state)
{
    (void)state;
    for (int round = 0; round < PTHREAD_KEYS_MAX + 10; round++) {
        struct plugin_user u = {.plugin = dlopen(PLUGIN_DELETE, RTLD_NOW | RTLD_LOCAL)};
        assert_non_null(u.plugin);
        u.user.thread = thread_start(use_plugin_and_live_on, &u);
        WAIT_UNTIL(u.user.used);
        assert_int_equal(dlclose(u.plugin), 0);
        if (GLIBC) /* musl unloads nothing */
            assert_null(dlopen(PLUGIN_DELETE, RTLD_NOLOAD | RTLD_NOW));
        if (round % 64 == 0) { /* nor has a fork anything of it left to call */
            pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_int_equal(status, 0);
        }
        atomic_store(&u.user.may_end, true);
        thread_join(u.user.thread);
    }
}

static void a_plugin_linked_as_told_stays(void **state)
{
    (void)state;
    void *plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(plugin);
    assert_int_equal(plugin_run(plugin), 7);
    assert_int_equal(dlclose(plugin), 0);
    plugin = dlopen(PLUGIN, RTLD_NOLOAD | RTLD_NOW);
    assert_non_null(plugin);
    assert_int_equal(dlclose(plugin), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_end_after_dlclose),
        cmocka_unit_test(a_group_survives_dlclose_and_dlopen),
        cmocka_unit_test(the_version_is_that_of_the_header),
        cmocka_unit_test(many_plugins_have_the_archive),
        cmocka_unit_test(plugins_go_before_their_threads),
        cmocka_unit_test(a_plugin_linked_as_told_stays),
    };
    return RUN_TESTS(tests);
}
