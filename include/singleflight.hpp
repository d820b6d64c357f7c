/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight.hpp - <singleflight.h> for C++17.
 *
 *     singleflight::group pages;
 *
 *     auto page = pages.run(path, [&] { return render(path); });   // runs once
 *     send(client, page->html);                   // led or joined: all the same
 *
 * What the callable returns is moved into the call and shared, as const T, by
 * everybody who called run() for the key meanwhile; it dies with the last
 * result<T>.  The callable takes nothing, or a call&, and may return void.
 *
 * An exception that leaves the callable is rethrown at every caller: the same
 * std::exception_ptr, so treat what you catch as read-only.  Failures of the
 * library are std::system_error with the positive errno (ETIMEDOUT, EDEADLK,
 * ...) in the generic category.  pthread_exit() and pthread_cancel() pass
 * through untouched; the callers left behind get EOWNERDEAD.
 *
 * All callers of one key must ask for the same T, and none of them may come
 * through the C functions; one that meets another's result of a different kind
 * gets std::logic_error.  Callers may be in different plugins, also with hidden
 * visibility; a plugin stays loaded as long as a result or an exception that it
 * made.  Needs exceptions and RTTI.
 */
#ifndef SFLIGHT_HPP
#define SFLIGHT_HPP

#include <singleflight.h>

#if !defined(__cpp_exceptions)
#error "singleflight.hpp needs exceptions, which carry the library's failures: use singleflight.h"
#elif !defined(__cpp_rtti)
#error "singleflight.hpp needs RTTI, to tell whether the callers of a key agree: use singleflight.h"
#else

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace singleflight
{

/* The C library's options, filled with the defaults. */
struct options : sflight_options {
    options() noexcept : sflight_options() { sflight_options_init(this); }
};

/* What the callable may ask its own call, while it runs. */
class call
{
  public:
    explicit call(sflight_call *c) noexcept : c_(c) {}
    call(const call &) = delete;
    call &operator=(const call &) = delete;

    /* Nobody waits for the result any more: the callable may stop early. */
    bool unwanted() const noexcept { return sflight_call_unwanted(c_); }

    std::string_view key() const noexcept
    {
        std::size_t len = 0;
        const void *data = sflight_call_key(c_, &len);
        return {static_cast<const char *>(data), len};
    }

  private:
    sflight_call *c_;
};

namespace detail
{

/*
 * The value of every call made here: a box<T>, or a bare box_base if the
 * callable threw.  The status says that it is one of the two.
 */
constexpr int boxed = 0x73666c74;

struct box_base {
    std::exception_ptr error;

    box_base() = default;
    explicit box_base(std::exception_ptr e) noexcept : error(std::move(e)) {}
    box_base(const box_base &) = delete;
    box_base &operator=(const box_base &) = delete;
    virtual ~box_base() = default;
};

template <class T>
struct box final : box_base {
    const T value;

    template <class F>
    explicit box(F &&make) : value(make())
    {
    }
};

template <>
struct box<void> final : box_base {
    template <class F>
    explicit box(F &&run)
    {
        run();
    }
};

/*
 * By name where addresses differ: each plugin built with hidden visibility has a type_info of its
 * own for the same type.  Not so what is in an unnamed namespace: there are several of that name.
 */
inline bool same_type(const std::type_info &a, const std::type_info &b) noexcept
{
    return &a == &b || (std::strcmp(a.name(), b.name()) == 0 &&
                        std::strstr(a.name(), "_GLOBAL__N_") == nullptr);
}

inline void destroy_box(void *value, std::size_t, void *)
{
    delete static_cast<box_base *>(value);
}

/* Runs the callable with or without the call, whichever it takes. */
template <class F>
decltype(auto) invoke(F &f, call &c)
{
    if constexpr (std::is_invocable_v<F &, call &>)
        return f(c);
    else
        return f();
}

template <class F>
using value_of = std::decay_t<decltype(invoke(std::declval<F &>(), std::declval<call &>()))>;

/*
 * The sflight_fn of run(): boxes what the callable returns or throws.  A forced
 * unwind has no object, so that its reference is null: not for UBSan to report.
 */
template <class F>
__attribute__((no_sanitize("null"))) int run_boxed(sflight_call *raw, void *arg)
{
    F &f = *static_cast<F *>(arg);
    call c(raw);
    box_base *b;
    try {
        b = new box<value_of<F>>([&]() -> decltype(auto) { return f(c); });
#ifdef __GLIBCXX__
    } catch (abi::__forced_unwind &) { /* the thread ends */
        throw;
#endif
    } catch (...) {
        b = new (std::nothrow) box_base(std::current_exception());
    }
    if (b != nullptr)
        sflight_call_set(raw, b, sizeof(*b), destroy_box, nullptr);
    return boxed;
}

/* One hold on a result. */
class hold
{
  public:
    hold() noexcept : r_() {}
    explicit hold(const sflight_result &r) noexcept : r_(r) {}
    hold(const hold &other) noexcept { (void)sflight_result_retain(&other.r_, &r_); }
    hold(hold &&other) noexcept : r_(std::exchange(other.r_, sflight_result())) {}
    hold &operator=(hold other) noexcept
    {
        std::swap(r_, other.r_);
        return *this;
    }
    ~hold() { sflight_result_release(&r_); }

    /* False for a result that is default-constructed or moved from. */
    explicit operator bool() const noexcept { return r_.hold != nullptr; }

    bool leader() const noexcept { return r_.leader; }
    bool shared() const noexcept { return r_.shared; }
    std::uint32_t followers() const noexcept { return r_.followers; }

  protected:
    const sflight_result &raw() const noexcept { return r_; }

  private:
    sflight_result r_;
};

/* Throws what sflight_do() returned, if it is a failure. */
inline void check(int rc, const char *what)
{
    if (rc < 0)
        throw std::system_error(-rc, std::generic_category(), what);
}

inline timespec to_timespec(std::chrono::steady_clock::time_point t) noexcept
{
    constexpr long long second = 1000000000;
    const std::chrono::nanoseconds since = t.time_since_epoch();
    const long long ns = since.count() > 0 ? since.count() : 0; /* the past is the past */
    timespec ts = {};
    ts.tv_sec = static_cast<std::time_t>(ns / second);
    ts.tv_nsec = static_cast<long>(ns % second);
    return ts;
}

} // namespace detail

/*
 * What a caller gets: one hold on the shared value.  A copy is another hold.
 * Holds must be gone before their group is.
 */
template <class T>
class result : public detail::hold
{
  public:
    using hold::hold;

    const T &get() const noexcept
    {
        return static_cast<const detail::box<T> *>(
                   static_cast<const detail::box_base *>(raw().value))
            ->value;
    }
    const T &operator*() const noexcept { return get(); }
    const T *operator->() const noexcept { return std::addressof(get()); }
};

template <>
class result<void> : public detail::hold
{
  public:
    using hold::hold;
};

/*
 * A namespace of keys.  Usable from any number of threads at once, but for the
 * constructor, the destructor and moves.
 */
class group
{
  public:
    using time_point = std::chrono::steady_clock::time_point; /* CLOCK_MONOTONIC */

    group() : group(options()) {}
    explicit group(const sflight_options &o)
    {
        detail::check(sflight_group_create(&g_, &o), "sflight_group_create");
    }
    group(group &&other) noexcept : g_(std::exchange(other.g_, nullptr)) {}
    group &operator=(group other) noexcept
    {
        std::swap(g_, other.g_);
        return *this;
    }

    /*
     * No thread may be inside the group, and no result may be held any more.
     * Where that is broken the group is closed and its memory is never freed,
     * so that what is still held stays valid.
     */
    ~group()
    {
        if (sflight_group_destroy(g_) != 0)
            (void)sflight_group_close(g_);
    }

    /*
     * Runs f, or waits for the call in flight for this key; see sflight_do().
     * A follower's f is not touched, nor copied.
     */
    template <class F>
    result<detail::value_of<F>> run(std::string_view key, F &&f)
    {
        return do_until(key, f, nullptr);
    }

    /* Followers give up at the deadline with ETIMEDOUT; see sflight_do_until(). */
    template <class F>
    result<detail::value_of<F>> run_until(time_point deadline, std::string_view key, F &&f)
    {
        const timespec ts = detail::to_timespec(deadline);
        return do_until(key, f, &ts);
    }

    /* The next caller leads a new call.  False if none was in flight. */
    bool forget(std::string_view key)
    {
        const int rc = sflight_forget(g_, key.data(), key.size());
        detail::check(rc, "sflight_forget");
        return rc != 0;
    }

    /* False if the call in flight has followers and was therefore kept. */
    bool forget_unshared(std::string_view key)
    {
        const int rc = sflight_forget_unshared(g_, key.data(), key.size());
        detail::check(rc, "sflight_forget_unshared");
        return rc != 0;
    }

    /* Newcomers get ESHUTDOWN from now on. */
    void close() { detail::check(sflight_group_close(g_), "sflight_group_close"); }

    /* Waits until no call is in flight. */
    void drain() { detail::check(sflight_group_drain(g_, nullptr), "sflight_group_drain"); }
    void drain_until(time_point deadline)
    {
        const timespec ts = detail::to_timespec(deadline);
        detail::check(sflight_group_drain(g_, &ts), "sflight_group_drain");
    }

    sflight_stats stats() const
    {
        sflight_stats s;
        detail::check(sflight_group_stats(g_, &s), "sflight_group_stats");
        return s;
    }

    /*
     * Calls visit(const sflight_info &) for each call in flight, as sflight_group_each().  It
     * returns nothing, or whether to go on; what it throws ends the walk and goes on.  False: it
     * said no.
     */
    template <class F>
    bool each(F &&visit) const
    {
        using V = std::remove_reference_t<F>;
        auto step = [](const sflight_info *info, void *arg) -> int {
            V &v = *static_cast<V *>(arg);
            if constexpr (std::is_void_v<std::invoke_result_t<V &, const sflight_info &>>) {
                v(*info);
                return 0;
            } else {
                return v(*info) ? 0 : 1;
            }
        };
        void *arg = const_cast<void *>(static_cast<const void *>(std::addressof(visit)));
        const int rc = sflight_group_each(g_, step, arg);
        detail::check(rc, "sflight_group_each");
        return rc == 0;
    }

    /* For the C functions that have no counterpart here. */
    sflight_group *native_handle() const noexcept { return g_; }

  private:
    template <class F>
    result<detail::value_of<F>> do_until(std::string_view key, F &f, const timespec *deadline)
    {
        using T = detail::value_of<F>;
        auto work = [&f](call &c) -> decltype(auto) { return detail::invoke(f, c); };
        sflight_result r;
        const int rc = sflight_do_until(g_, key.data(), key.size(),
                                        detail::run_boxed<decltype(work)>, &work, deadline, &r);
        result<T> held(r);
        detail::check(rc, "sflight_do");
        if (r.status != detail::boxed)
            throw std::logic_error("singleflight: the call was led through the C functions");
        if (r.value == nullptr)
            throw std::bad_alloc();
        const auto *b = static_cast<const detail::box_base *>(r.value);
        if (b->error != nullptr)
            std::rethrow_exception(b->error);
        if (!detail::same_type(typeid(*b), typeid(detail::box<T>)))
            throw std::logic_error("singleflight: callers of one key differ in the result's type");
        return held;
    }

    sflight_group *g_ = nullptr;
};

} // namespace singleflight

#endif /* exceptions and RTTI */
#endif /* SFLIGHT_HPP */
