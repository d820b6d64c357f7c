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
 * ...) in the generic category.  With libstdc++ pthread_exit() and pthread_cancel()
 * pass through untouched; the callers left behind get EOWNERDEAD.  With clang 14's
 * libc++ a thread must not end in the callable: it crashes at any catch (...).
 *
 * All callers of one key must ask for the same T, and none of them may come
 * through the C functions; one that meets another's result of a different kind
 * gets std::logic_error.  Callers may be in different plugins, also with hidden
 * visibility; not with a T that is local to an unnamed namespace or to a function
 * that is not inline, which are different ones.  A plugin stays loaded as long as a
 * result or an exception that it made.
 *
 * For event loops there are permits, futures and queues, which give themselves up
 * when they are destroyed, and for coroutines of C++20 group::fly():
 *
 *     singleflight::answer page = co_await pages.fly(landings, path, send_query);
 *
 * These throw nothing of their own: what may fail returns what the C function does,
 * 0 or a negative errno.  What callbacks and coroutines throw goes on, up through
 * complete(), abandon(), then(), drop(), on_unwanted(), drain() or deliver(), and the
 * permit or future is used all the same; out of a destructor, an assignment or what
 * is noexcept it ends the program, and so does what start and post throw.
 *
 * run() needs exceptions and RTTI; the members of group that throw
 * need exceptions; a program without has the others, and the C functions.
 */
#ifndef SFLIGHT_HPP
#define SFLIGHT_HPP

#include <singleflight.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#ifdef __cpp_exceptions
#define SFLIGHT_THROWS 1
#include <cxxabi.h>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#endif

/* clang 14 has coroutines with its own library only. */
#if __cplusplus >= 202002L && __has_include(<coroutine>) &&                                        \
    (defined(__cpp_impl_coroutine) || (defined(__cpp_coroutines) && defined(_LIBCPP_VERSION)))
#define SFLIGHT_COROUTINES 1
#include <coroutine>
#include <mutex>
#include <thread>
#endif

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

#ifdef SFLIGHT_THROWS
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
 * Whether the mangled name may be that of different types in two source files: it has an unnamed
 * namespace, a closure or type that clang numbers by file, or, in what belongs to a function or
 * closure, the L before the name of one with internal linkage.
 */
inline bool one_file_has(const char *name) noexcept
{
    if (std::strstr(name, "_GLOBAL__N_") != nullptr || std::strstr(name, "$_") != nullptr)
        return true;
    if (std::strchr(name, 'Z') == nullptr && std::strstr(name, "Ul") == nullptr)
        return false;
    for (const char *l = name; (l = std::strchr(l, 'L')) != nullptr;) {
        l++;
        if (*l >= '0' && *l <= '9')
            return true;
    }
    return false;
}

/*
 * By name where addresses differ: each plugin built with hidden visibility has a type_info of its
 * own for the same type.  Not so what only one source file has: there are several of that name.
 * g++ marks these, for the == of libstdc++; that of libc++ compares addresses.
 */
inline bool same_type(const std::type_info &a, const std::type_info &b) noexcept
{
    if (&a == &b)
        return true;
#ifdef __GLIBCXX__
    return a == b && !one_file_has(a.name());
#else
    return std::strcmp(a.name(), b.name()) == 0 && !one_file_has(a.name());
#endif
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

/* Throws what sflight_do() returned, if it is a failure. */
inline void check(int rc, const char *what)
{
    if (rc < 0)
        throw std::system_error(-rc, std::generic_category(), what);
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
#endif

/* ---------------------------------------------------------- permits, futures, queues */

/*
 * What a future, a queue or a coroutine gets: one hold on the value, which is what
 * permit::set(), or another leader, made it.  A copy is another hold.  Holds must be
 * gone before their group is.
 */
class answer : public detail::hold
{
  public:
    answer() noexcept = default;
    answer(int rc, const sflight_result &r) noexcept : hold(r), rc_(rc) {}

    /*
     * 0, or a negative errno as of sflight_future_get(): then there is no value, but after
     * -ENOTRECOVERABLE the message.
     */
    int rc() const noexcept { return rc_; }

    const void *value() const noexcept { return raw().value; }
    std::size_t size() const noexcept { return raw().size; }
    int status() const noexcept { return raw().status; }

    /* The T that all leaders of this key set; not checked.  nullptr if there is none. */
    template <class T>
    const T *get() const noexcept
    {
        return rc_ == 0 ? static_cast<const T *>(raw().value) : nullptr;
    }

  private:
    int rc_ = -EAGAIN; /* nothing has been delivered here yet */
};

/* A queue of completions, for an event loop; see sflight_queue_create(). */
class queue
{
  public:
    queue() noexcept = default; /* none */
    queue(queue &&other) noexcept : q_(std::exchange(other.q_, nullptr)) {}
    queue &operator=(queue other) noexcept
    {
        std::swap(q_, other.q_);
        return *this;
    }
    /* Nothing may be enqueued any more, or its memory is never freed. */
    ~queue() { (void)sflight_queue_destroy(q_); }

    static int create(queue &out) noexcept
    {
        queue made;
        const int rc = sflight_queue_create(&made.q_);
        out = std::move(made);
        return rc;
    }

    int fd() const noexcept { return sflight_queue_fd(q_); }

    /* each(std::uint64_t tag, answer) for all that is there; returns how many. */
    template <class F>
    unsigned drain(F &&each)
    {
        unsigned n = 0;
        for (sflight_completion c; sflight_queue_drain(q_, &c, 1) == 1; n++)
            each(c.tag, answer(c.rc, c.result));
        return n;
    }

    sflight_queue *native_handle() const noexcept { return q_; }

  private:
    sflight_queue *q_ = nullptr;
};

/* A claim on a result to come, given up when it is destroyed; see sflight_future_get(). */
class future
{
  public:
    future() noexcept = default; /* none */
    explicit future(sflight_future *f) noexcept : f_(f) {}
    future(future &&other) noexcept : f_(other.release()) {}
    future &operator=(future other) noexcept
    {
        std::swap(f_, other.f_);
        return *this;
    }
    ~future() { (void)drop(); }

    explicit operator bool() const noexcept { return f_ != nullptr; }

    /*
     * Return out.rc() when they have consumed the future.  Otherwise -ETIMEDOUT, -EDEADLK
     * or -EINVAL; poll() -EAGAIN: the future stays, and out is as it was.
     */
    int get(answer &out) noexcept { return take(sflight_future_get, out, nullptr); }
    int get_until(std::chrono::steady_clock::time_point deadline, answer &out) noexcept
    {
        const timespec ts = detail::to_timespec(deadline);
        return take(sflight_future_get, out, &ts);
    }
    int poll(answer &out) noexcept
    {
        return take([](sflight_future *f, const timespec *,
                       sflight_result *r) { return sflight_future_poll(f, r); },
                    out, nullptr);
    }

    int fd() noexcept { return sflight_future_fd(f_); }

    /*
     * Consume the future where they return 0.  If the call has ended, then() calls cb at once, and
     * what cb throws leaves then(): that, too, has consumed the future.
     */
    int then(void (*cb)(void *arg, int rc, sflight_result *r), void *arg)
    {
        sflight_future *f = release();
        const int rc = sflight_future_then(f, cb, arg); /* cb may leave it, or destroy this */
        if (rc != 0)
            f_ = f;
        return rc;
    }
    int enqueue(queue &q, std::uint64_t tag) noexcept
    {
        const int rc = sflight_future_enqueue(f_, q.native_handle(), tag);
        f_ = rc == 0 ? nullptr : f_;
        return rc;
    }

    int drop() { return sflight_future_drop(release()); }

    sflight_future *release() noexcept { return std::exchange(f_, nullptr); }
    sflight_future *native_handle() const noexcept { return f_; }

  private:
    template <class Take>
    int take(Take how, answer &out, const timespec *deadline) noexcept
    {
        sflight_result r;
        const int rc = how(f_, deadline, &r);
        if (rc == -ETIMEDOUT || rc == -EDEADLK || rc == -EINVAL || rc == -EAGAIN)
            return rc;
        f_ = nullptr;
        out = answer(rc, r);
        return rc;
    }

    sflight_future *f_ = nullptr;
};

/*
 * The right, and the duty, to end a call; see sflight_begin().  One that is destroyed
 * unused abandons its call.
 */
class permit
{
  public:
    permit() noexcept = default; /* none */
    explicit permit(sflight_call *c) noexcept : c_(c) {}
    permit(permit &&other) noexcept : c_(other.release()) {}
    permit &operator=(permit other) noexcept
    {
        std::swap(c_, other.c_);
        return *this;
    }
    ~permit()
    {
        if (c_ != nullptr)
            (void)sflight_abandon(c_);
    }

    explicit operator bool() const noexcept { return c_ != nullptr; }

    std::string_view key() const noexcept { return call(c_).key(); }
    bool unwanted() const noexcept { return sflight_call_unwanted(c_); }
    void on_unwanted(void (*cb)(void *arg), void *arg) { sflight_call_on_unwanted(c_, cb, arg); }

    /* The value: for answer::get<T>(). */
    template <class T>
    void set(std::unique_ptr<T> value) noexcept
    {
        sflight_call_set(
            c_, value.release(), sizeof(T),
            [](void *v, std::size_t, void *) { delete static_cast<T *>(v); }, nullptr);
    }
    void *alloc(std::size_t size) noexcept { return sflight_call_alloc(c_, size); }
    void set_status(int status) noexcept { sflight_call_set_status(c_, status); }

    /* The holder's own future on the call, once. */
    int own_future(future &out) noexcept
    {
        sflight_future *f;
        const int rc = sflight_call_future(c_, &f);
        out = future(f);
        return rc;
    }

    /* End the call; return how many followers it had. */
    std::uint32_t complete(int status) { return sflight_complete(release(), status); }
    std::uint32_t abandon() { return sflight_abandon(release()); }

    sflight_call *release() noexcept { return std::exchange(c_, nullptr); }
    sflight_call *native_handle() const noexcept { return c_; }

  private:
    sflight_call *c_ = nullptr;
};

#ifdef SFLIGHT_COROUTINES
/* ----------------------------------------------------------------------- coroutines */

/*
 * Where coroutines wait that have said group::fly().  The event loop calls deliver()
 * when the descriptor is readable: it resumes each coroutine whose result is there,
 * or has it resumed by the executor that fly() was given.  From any thread.  Outlives
 * its coroutines.  A coroutine throws here whose promise does in unhandled_exception().
 */
class coroutine_queue
{
  public:
    explicit coroutine_queue(queue q) noexcept : q_(std::move(q)) {}
    coroutine_queue(const coroutine_queue &) = delete;
    coroutine_queue &operator=(const coroutine_queue &) = delete;
    ~coroutine_queue()
    {
        for (; n_left_ != 0; std::this_thread::yield()) /* another thread brings it: some steps */
            deliver();
    }

    int fd() const noexcept { return q_.fd(); }

    /* Of what coroutines throw the first leaves, when all that are there have been resumed. */
    void deliver()
    {
        {
            std::lock_guard<std::recursive_mutex> guard(mutex_);
            q_.drain([this](std::uint64_t tag, answer a) noexcept {
                waiter *w = reinterpret_cast<waiter *>(static_cast<std::uintptr_t>(tag));
                w->result = std::move(a);
                w->state = waiter::LANDED;
                *last_ = w;
                last_ = &w->next;
            });
        }
#ifdef SFLIGHT_THROWS
        std::exception_ptr first;
        while (waiter *w = take_landed()) {
            try {
                go_on(w);
            } catch (...) {
                const std::exception_ptr e = std::current_exception();
                if (e == nullptr) { /* none of C++: the thread ends */
                    deliver();
                    throw;
                }
                first = first != nullptr ? first : e;
            }
        }
        if (first != nullptr)
            std::rethrow_exception(std::move(first));
#else
        while (waiter *w = take_landed())
            go_on(w);
#endif
    }

  private:
    template <class Start, class Post>
    friend class flight;

    /* What is awaited; the coroutine's until it has left, then the queue's. */
    struct waiter {
        enum { IDLE, FLYING, LANDED, RESUMED } state = IDLE; /* under mutex_ */
        bool left = false;                                   /* its coroutine is no more */
        answer result;
        sflight_future *future = nullptr;
        std::coroutine_handle<> coroutine;
        waiter *next = nullptr;
        void (*resume)(waiter *) = nullptr;
        void (*end)(waiter *) = nullptr; /* delete */
    };

    /* The next one whose result is there. */
    waiter *take_landed() noexcept
    {
        std::lock_guard<std::recursive_mutex> guard(mutex_);
        waiter *w = first_;
        if (w == nullptr)
            return nullptr;
        first_ = w->next;
        last_ = first_ != nullptr ? last_ : &first_;
        w->state = waiter::RESUMED;
        n_left_ -= w->left;
        return w;
    }

    static void go_on(waiter *w)
    {
        if (w->left)
            w->end(w);
        else
            w->resume(w);
    }

    /* The coroutine is destroyed.  Callbacks may run in cancel, and destroy other coroutines. */
    void leave(waiter *w)
    {
        std::unique_lock<std::recursive_mutex> guard(mutex_);
        const bool comes = w->state == waiter::LANDED ||
                           (w->state == waiter::FLYING && sflight_future_cancel(w->future) == 0);
        w->left = comes;
        n_left_ += comes;
        guard.unlock();
        if (!comes)
            w->end(w);
    }

    queue q_;
    std::recursive_mutex mutex_; /* so that nobody drains what is being taken back */
    waiter *first_ = nullptr, **last_ = &first_;
    std::size_t n_left_ = 0;
};

/* The executor of who does not say: the thread that calls deliver(), there. */
struct resume_here {
    void operator()(std::coroutine_handle<> coroutine) const { coroutine.resume(); }
};

/* What group::fly() returns, to be awaited at once. */
template <class Start, class Post>
class [[nodiscard]] flight
{
  public:
    flight(sflight_group *g, coroutine_queue &q, std::string_view key, Start start, Post post)
        : g_(g), q_(q), key_(key), start_(std::move(start)),
          w_(new (std::nothrow) own_waiter(std::move(post)))
    {
    }
    flight(const flight &) = delete;
    flight &operator=(const flight &) = delete;
    ~flight()
    {
        if (w_ != nullptr)
            q_.leave(w_);
    }

    bool await_ready() const noexcept { return false; }

    bool await_suspend(std::coroutine_handle<> coroutine) noexcept
    {
        if (w_ == nullptr)
            return false;
        sflight_call *lead;
        Start start = std::move(start_);
        {
            std::lock_guard<std::recursive_mutex> guard(q_.mutex_);
            w_->coroutine = coroutine;
            const int rc =
                sflight_begin_enqueue(g_, key_.data(), key_.size(), q_.q_.native_handle(),
                                      reinterpret_cast<std::uintptr_t>(w_), &lead, &w_->future);
            if (rc != 0) {
                w_->result = answer(rc, sflight_result());
                return false;
            }
            w_->state = coroutine_queue::waiter::FLYING;
        }
        /* The coroutine may be resumed, and this be gone, from here on. */
        if (lead != nullptr)
            start(permit(lead));
        return true;
    }

    answer await_resume() noexcept
    {
        return w_ != nullptr ? std::move(w_->result) : answer(-ENOMEM, sflight_result());
    }

  private:
    struct own_waiter : coroutine_queue::waiter {
        Post post;

        explicit own_waiter(Post p) : post(std::move(p))
        {
            this->resume = [](waiter *w) noexcept(!std::is_same_v<Post, resume_here>) {
                Post here = std::move(static_cast<own_waiter *>(w)->post);
                here(w->coroutine);
            };
            this->end = [](waiter *w) { delete static_cast<own_waiter *>(w); };
        }
        using waiter = coroutine_queue::waiter;
    };

    sflight_group *g_;
    coroutine_queue &q_;
    std::string_view key_;
    Start start_;
    own_waiter *w_;
};
#endif

/*
 * A namespace of keys.  Usable from any number of threads at once, but for the
 * constructor, the destructor and moves.
 */
class group
{
  public:
    using time_point = std::chrono::steady_clock::time_point; /* CLOCK_MONOTONIC */

    explicit group(std::nullptr_t) noexcept {} /* none: for create() */
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

    static int create(group &out, const sflight_options &o = options()) noexcept
    {
        group made(nullptr);
        const int rc = sflight_group_create(&made.g_, &o);
        out = std::move(made);
        return rc;
    }

    /* Either lead or join gets something; see sflight_begin(). */
    int begin(std::string_view key, permit &lead, future &join) noexcept
    {
        sflight_call *c;
        sflight_future *f;
        const int rc = sflight_begin(g_, key.data(), key.size(), &c, &f);
        lead = permit(c);
        join = future(f);
        return rc;
    }

    /*
     * Every caller gets one completion in q; lead gets something for the one that must do
     * the work.  *f is for sflight_future_cancel() only; see sflight_begin_enqueue().
     */
    int begin_enqueue(std::string_view key, queue &q, std::uint64_t tag, permit &lead,
                      sflight_future **f = nullptr) noexcept
    {
        sflight_call *c;
        const int rc =
            sflight_begin_enqueue(g_, key.data(), key.size(), q.native_handle(), tag, &c, f);
        lead = permit(c);
        return rc;
    }

#ifdef SFLIGHT_COROUTINES
    /*
     * co_await it: an answer, whose rc() may also be what sflight_begin_enqueue() fails
     * with.  The coroutine that leads has start(permit) called, before it is suspended for
     * good: who is given the permit ends the call later, on any thread, or at once.  start
     * must not throw.  post(std::coroutine_handle<>), which has the coroutine resumed, is
     * called by q.deliver().  It must not throw, nor what it resumes itself: that ends the
     * program, as nobody would know whether the coroutine is to be resumed still.  Without post
     * q.deliver() resumes it.
     *
     * A coroutine that is destroyed while it waits has left the call, whatever becomes of
     * the permit (sflight_call_on_unwanted() tells its holder).  Destroy it on no other thread
     * while it is being resumed, and not when it has been given to post.
     */
    template <class Start, class Post = resume_here>
    flight<Start, Post> fly(coroutine_queue &q, std::string_view key, Start start, Post post = {})
    {
        return {g_, q, key, std::move(start), std::move(post)};
    }
#endif

#ifdef SFLIGHT_THROWS
    group() : group(options()) {}
    explicit group(const sflight_options &o)
    {
        detail::check(sflight_group_create(&g_, &o), "sflight_group_create");
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
    void close()
    {
        detail::check(sflight_group_close(g_), "sflight_group_close");
    }

    /* Waits until no call is in flight. */
    void drain()
    {
        detail::check(sflight_group_drain(g_, nullptr), "sflight_group_drain");
    }
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
#else
    template <class F>
    void run(std::string_view, F &&)
    {
        static_assert(!sizeof(F), "run() needs exceptions, which carry the library's failures");
    }
#endif

    /* For the C functions that have no counterpart here. */
    sflight_group *native_handle() const noexcept
    {
        return g_;
    }

  private:
#ifdef SFLIGHT_THROWS
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
#ifdef __cpp_rtti
        if (!detail::same_type(typeid(*b), typeid(detail::box<T>)))
            throw std::logic_error("singleflight: callers of one key differ in the result's type");
#else
        static_assert(!sizeof(F), "run() needs RTTI, to tell whether the callers of a key agree");
#endif
        return held;
    }
#endif

    sflight_group *g_ = nullptr;
};

} // namespace singleflight

#undef SFLIGHT_THROWS
#undef SFLIGHT_COROUTINES
#endif /* SFLIGHT_HPP */
