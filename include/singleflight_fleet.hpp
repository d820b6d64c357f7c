/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight_fleet.hpp - <singleflight_fleet.h> for C++17.
 *
 *     struct page_codec {                                        // the format of the values
 *         std::string to_bytes(const page &p) const;
 *         page from_bytes(std::string_view bytes) const;
 *     };
 *
 *     singleflight::fleet_options o;
 *     o.name = "pages.v3";                                       // with that format
 *     o.address = "unix:/run/redis/redis.sock";
 *     singleflight::fleet<page_codec> pages(o);                  // after fork()
 *
 *     auto page = pages.run(path, [&] { return render(path); }); // runs once in all processes
 *     send(client, page->html);
 *
 * A codec is the caller's serialiser, one for each fleet, since a fleet's name says the format of
 * its values.  to_bytes() takes what the callable returns and makes bytes: anything with data()
 * and size(), one byte an element.  from_bytes() makes of these bytes what run() delivers.  It runs
 * for each caller, the leader too, and the bytes live as long as the result: so it may return a
 * view of them.  Both may be called on several threads at a time.  Without a codec the value is a
 * std::string_view.
 *
 * An exception that leaves the callable, or to_bytes(), goes on to its own caller, and nobody else
 * gets it: it has no bytes.  The others, here and in other processes, are told at once, and one of
 * them runs its own; where the group's on_abandon is not SFLIGHT_ABANDON_TAKEOVER, those of this
 * process get EOWNERDEAD.  What from_bytes() throws, its caller gets.  Failures of the library are
 * std::system_error with the positive errno in the generic category.
 *
 * For event loops there is start(), with futures and queues of singleflight.hpp and permits of its
 * own, which throw nothing: what may fail returns what the C function does.  run() and the members
 * that throw need exceptions; a program without has the others.
 */
#ifndef SFLIGHT_FLEET_HPP
#define SFLIGHT_FLEET_HPP

#include <singleflight.hpp>
#include <singleflight_fleet.h>

#include <string>

#ifdef __cpp_exceptions
#define SFLIGHT_FLEET_THROWS 1
#endif

namespace singleflight
{

/* The C library's options, filled with the defaults; name and address have none. */
struct fleet_options : sflight_fleet_options {
    fleet_options() noexcept : sflight_fleet_options() { sflight_fleet_options_init(this); }
};

/* The codec of who has bytes. */
struct flat_bytes {
    std::string_view to_bytes(std::string_view bytes) const noexcept { return bytes; }
    std::string_view from_bytes(std::string_view bytes) const noexcept { return bytes; }
};

/*
 * The right, and the duty, to end a call; see sflight_fleet_start().  One that is destroyed unused
 * abandons its call.
 */
class fleet_permit
{
  public:
    fleet_permit() noexcept = default; /* none */
    explicit fleet_permit(sflight_fleet_permit *p) noexcept : p_(p) {}
    fleet_permit(fleet_permit &&other) noexcept : p_(other.release()) {}
    fleet_permit &operator=(fleet_permit other) noexcept
    {
        std::swap(p_, other.p_);
        return *this;
    }
    ~fleet_permit()
    {
        if (p_ != nullptr)
            (void)sflight_fleet_abandon(p_);
    }

    explicit operator bool() const noexcept { return p_ != nullptr; }

    std::string_view key() const noexcept
    {
        std::size_t len = 0;
        const void *data = sflight_fleet_permit_key(p_, &len);
        return {static_cast<const char *>(data), len};
    }

    /*
     * End the call; return how many followers it had in this process.  Without memory for the
     * string object complete() abandons it.
     */
    std::uint32_t complete(int status, std::string bytes)
    {
        auto *held = new (std::nothrow) std::string(std::move(bytes));
        if (held == nullptr)
            return abandon();
        return sflight_fleet_complete(
            release(), status, held->data(), held->size(),
            [](void *, std::size_t, void *string) { delete static_cast<std::string *>(string); },
            held);
    }
    std::uint32_t abandon() { return sflight_fleet_abandon(release()); }

    sflight_fleet_permit *release() noexcept { return std::exchange(p_, nullptr); }
    sflight_fleet_permit *native_handle() const noexcept { return p_; }

  private:
    sflight_fleet_permit *p_ = nullptr;
};

namespace detail
{

inline std::string_view bytes_of(const void *value, std::size_t size) noexcept
{
    return {static_cast<const char *>(value), size};
}

/* What a fleet_result whose value cannot be assigned is assigned from. */
struct no_result;

/* The lead of start(): calls the callable, if there is a permit, and frees it. */
template <class F>
void call_lead(sflight_fleet_permit *permit, void *arg) noexcept
{
    std::unique_ptr<F> lead(static_cast<F *>(arg));
    if (permit != nullptr)
        (*lead)(fleet_permit(permit));
}

#ifdef SFLIGHT_FLEET_THROWS
template <class Codec, class F>
struct fleet_work {
    const Codec &codec;
    F &f;
};

/* The sflight_fn of run().  An exception goes through the library, which abandons the call. */
template <class Codec, class F>
int run_to_bytes(sflight_call *raw, void *arg)
{
    auto &work = *static_cast<fleet_work<Codec, F> *>(arg);
    call c(raw);
    auto &&value = invoke(work.f, c);
    auto &&bytes = work.codec.to_bytes(std::forward<decltype(value)>(value));
    static_assert(sizeof(*bytes.data()) == 1, "to_bytes() makes bytes");
    void *room = sflight_call_alloc(raw, bytes.size());
    if (room == nullptr)
        throw std::bad_alloc();
    if (bytes.size() != 0)
        std::memcpy(room, bytes.data(), bytes.size());
    return 0;
}
#endif

} // namespace detail

/*
 * What a caller gets: what from_bytes() made, and one hold on the bytes.  A copy is another hold.
 * Holds must be gone before their fleet is.
 */
template <class T>
class fleet_result : public detail::hold
{
  public:
    fleet_result(detail::hold held, T value) : hold(std::move(held)), value_(std::move(value)) {}
    fleet_result(const fleet_result &other) = default;
    /* A hold goes after the value that may be a view of its bytes, also where T throws. */
    fleet_result(fleet_result &&other) noexcept(std::is_nothrow_move_constructible_v<T>)
        : hold(other), value_(std::move(other.value_))
    {
        static_cast<hold &>(other) = hold();
    }
    fleet_result &operator=(
        std::conditional_t<std::is_move_assignable_v<T>, fleet_result, const detail::no_result &>
            other) noexcept(std::is_nothrow_move_assignable_v<T>)
    {
        value_ = std::move(other.value_);
        std::swap(static_cast<hold &>(*this), static_cast<hold &>(other));
        return *this;
    }

    const T &get() const noexcept { return value_; }
    const T &operator*() const noexcept { return value_; }
    const T *operator->() const noexcept { return std::addressof(value_); }

  private:
    T value_;
};

/*
 * A namespace of keys of many processes, with the format of its values.  Usable from any number of
 * threads at once, but for the constructor, the destructor and moves.
 */
template <class Codec = flat_bytes>
class fleet
{
  public:
    using time_point = std::chrono::steady_clock::time_point; /* CLOCK_MONOTONIC */
    using value_type =
        std::decay_t<decltype(std::declval<const Codec &>().from_bytes(std::string_view()))>;

    explicit fleet(std::nullptr_t, Codec codec = Codec()) : codec_(std::move(codec)) {}
    fleet(fleet &&other) noexcept
        : f_(std::exchange(other.f_, nullptr)), lease_(other.lease_),
          codec_(std::move(other.codec_))
    {
    }
    fleet &operator=(fleet other) noexcept
    {
        std::swap(f_, other.f_);
        std::swap(lease_, other.lease_);
        std::swap(codec_, other.codec_);
        return *this;
    }

    /*
     * No thread may be inside the fleet, no permit may be left and no result may be held any more.
     * Waits until what is to be published is written: a lease at most, as the engine has it by then
     * or never.  Where that is broken, or on the engine thread, the fleet is closed and its memory
     * is never freed, so that what is still held stays valid.
     */
    ~fleet()
    {
        if (f_ == nullptr)
            return;
        const timespec ts = detail::to_timespec(std::chrono::steady_clock::now() + lease_);
        (void)sflight_fleet_close(f_, &ts);
        (void)sflight_fleet_destroy(f_);
    }

    /* In place of out's own fleet; its codec stays. */
    static int create(fleet &out, const sflight_fleet_options &o) noexcept
    {
        fleet made(nullptr, std::move(out.codec_));
        const int rc = made.make(o);
        out = std::move(made);
        return rc;
    }

    /*
     * lead(fleet_permit) is called if this process is to run the work for the key, and destroyed
     * in any case: on the engine thread, on the one that ends the call which this caller had
     * joined, or in here.  It must not block, nor throw: that ends the program.  out is a future
     * in any case, unless this fails: then lead is destroyed at once.  See sflight_fleet_start().
     */
    template <class F>
    int start(std::string_view key, F &&lead, future &out)
    {
        using L = std::decay_t<F>;
        L *held = new (std::nothrow) L(std::forward<F>(lead));
        sflight_future *f = nullptr;
        const int rc = held == nullptr ? -ENOMEM
                                       : sflight_fleet_start(f_, key.data(), key.size(),
                                                             detail::call_lead<L>, held, &f);
        if (rc != 0)
            delete held; /* otherwise call_lead() has freed it, or will: also where that is left */
        out = future(f);
        return rc;
    }

    /* What the codec makes of an answer, whose rc() is 0. */
    value_type decode(const answer &a) const
    {
        return codec_.from_bytes(detail::bytes_of(a.value(), a.size()));
    }

    const Codec &codec() const noexcept { return codec_; }

#ifdef SFLIGHT_FLEET_THROWS
    explicit fleet(const sflight_fleet_options &o, Codec codec = Codec()) : codec_(std::move(codec))
    {
        detail::check(make(o), "sflight_fleet_create");
    }

    /*
     * Runs f, or waits for the flight under way for this key, and delivers its value; see
     * sflight_fleet_do().  f takes nothing, or a call&.  Where another one runs, it is not touched,
     * nor copied.
     */
    template <class F>
    fleet_result<value_type> run(std::string_view key, F &&f)
    {
        return do_until(key, f, nullptr);
    }

    /* Who waits gives up at the deadline with ETIMEDOUT. */
    template <class F>
    fleet_result<value_type> run_until(time_point deadline, std::string_view key, F &&f)
    {
        const timespec ts = detail::to_timespec(deadline);
        return do_until(key, f, &ts);
    }

    /*
     * The next caller, in every process, begins a new flight.  False if none was under way.
     * EHOSTUNREACH: only this process has forgotten it.
     */
    bool forget(std::string_view key)
    {
        const int rc = sflight_fleet_forget(f_, key.data(), key.size());
        detail::check(rc, "sflight_fleet_forget");
        return rc != 0;
    }

    /* Is the engine of use?  "" if it is, else what is wrong; see sflight_fleet_check(). */
    std::string check_until(time_point deadline)
    {
        char why[256] = "";
        const timespec ts = detail::to_timespec(deadline);
        const int rc = sflight_fleet_check(f_, &ts, why, sizeof(why));
        if (rc != -EHOSTUNREACH)
            detail::check(rc, "sflight_fleet_check");
        return rc == 0 ? "" : why;
    }

    /* Newcomers get ESHUTDOWN; waits until the calls have ended and all is written. */
    void close()
    {
        detail::check(sflight_fleet_close(f_, nullptr), "sflight_fleet_close");
    }
    void close_until(time_point deadline)
    {
        const timespec ts = detail::to_timespec(deadline);
        detail::check(sflight_fleet_close(f_, &ts), "sflight_fleet_close");
    }

    sflight_fleet_counters stats() const
    {
        sflight_fleet_counters c;
        detail::check(sflight_fleet_stats(f_, &c), "sflight_fleet_stats");
        return c;
    }

    /* The engine's last error in words, or "". */
    std::string last_error() const
    {
        char buf[256];
        return sflight_fleet_last_error(f_, buf, sizeof(buf));
    }
#endif

    /* For the C functions that have no counterpart here. */
    sflight_fleet *native_handle() const noexcept
    {
        return f_;
    }

  private:
    int make(const sflight_fleet_options &o) noexcept
    {
        lease_ = std::chrono::milliseconds(o.lease_ms);
        return sflight_fleet_create(&f_, &o);
    }

#ifdef SFLIGHT_FLEET_THROWS
    template <class F>
    fleet_result<value_type> do_until(std::string_view key, F &f, const timespec *deadline)
    {
        detail::fleet_work<Codec, F> work = {codec_, f};
        sflight_result r;
        const int rc = sflight_fleet_do(f_, key.data(), key.size(), detail::run_to_bytes<Codec, F>,
                                        &work, deadline, &r);
        detail::hold held(r);
        detail::check(rc, "sflight_fleet_do");
        if (r.status != 0)
            throw std::logic_error("singleflight: the flight was not led by run()");
        value_type value = codec_.from_bytes(detail::bytes_of(r.value, r.size));
        return {std::move(held), std::move(value)};
    }
#endif

    sflight_fleet *f_ = nullptr;
    std::chrono::milliseconds lease_ = {};
    Codec codec_;
};

} // namespace singleflight

#undef SFLIGHT_FLEET_THROWS
#endif /* SFLIGHT_FLEET_HPP */
