/* SPDX-License-Identifier: BSD-2-Clause */
#include "invoke.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

/*
 * sflight_invoke(a, b, c, fn, here) keeps `here` at a known place of its frame, by which the
 * personality routine recognises the frame, and calls fn(a, b, c).  A panic goes on at
 * sflight_invoke_landing, in the same frame, as if fn had returned 0.
 */
#if defined(__x86_64__)
enum { HERE_OFFSET = 0 }; /* from the stack pointer */
__asm__(".text\n"
        ".globl sflight_invoke\n"
        ".hidden sflight_invoke\n"
        ".type sflight_invoke, @function\n"
        "sflight_invoke:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, sflight_invoke_personality\n" /* pc-relative, 4 bytes */
        "endbr64\n"
        "push %r8\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call *%rcx\n"
        "add $8, %rsp\n"
        ".cfi_remember_state\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
        ".cfi_restore_state\n"
        ".globl sflight_invoke_landing\n"
        ".hidden sflight_invoke_landing\n"
        "sflight_invoke_landing:\n"
        "endbr64\n"
        "xor %eax, %eax\n"
        "add $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size sflight_invoke, . - sflight_invoke\n");
#elif defined(__aarch64__)
enum { HERE_OFFSET = 16 };
__asm__(".text\n"
        ".globl sflight_invoke\n"
        ".hidden sflight_invoke\n"
        ".type sflight_invoke, %function\n"
        "sflight_invoke:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, sflight_invoke_personality\n"
        "hint #34\n" /* bti c */
        "stp x29, x30, [sp, #-32]!\n"
        ".cfi_def_cfa_offset 32\n"
        ".cfi_offset 29, -32\n"
        ".cfi_offset 30, -24\n"
        "mov x29, sp\n"
        "str x4, [sp, #16]\n"
        "blr x3\n"
        "ldp x29, x30, [sp], #32\n"
        ".cfi_remember_state\n"
        ".cfi_restore 30\n"
        ".cfi_restore 29\n"
        ".cfi_def_cfa_offset 0\n"
        "ret\n"
        ".cfi_restore_state\n"
        ".globl sflight_invoke_landing\n"
        ".hidden sflight_invoke_landing\n"
        "sflight_invoke_landing:\n"
        "hint #36\n" /* bti j */
        "mov x0, #0\n"
        "ldp x29, x30, [sp], #32\n"
        ".cfi_restore 30\n"
        ".cfi_restore 29\n"
        ".cfi_def_cfa_offset 0\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size sflight_invoke, . - sflight_invoke\n");
#else
#error "libsingleflight supports x86-64 and arm64"
#endif

extern const char sflight_invoke_landing[] __attribute__((visibility("hidden")));

#define PANIC_CLASS UINT64_C(0x53464c5450414e43) /* "SFLTPANC" */

/*
 * The personality routine: the unwinder asks it what to do at a frame of sflight_invoke().  The
 * context's CFA is, at this moment, the frame's stack pointer.
 */
__attribute__((visibility("hidden"), used)) _Unwind_Reason_Code
sflight_invoke_personality(int version, _Unwind_Action actions,
                           _Unwind_Exception_Class exception_class,
                           struct _Unwind_Exception *exception, struct _Unwind_Context *context);

_Unwind_Reason_Code sflight_invoke_personality(int version, _Unwind_Action actions,
                                               _Unwind_Exception_Class exception_class,
                                               struct _Unwind_Exception *exception,
                                               struct _Unwind_Context *context)
{
    (void)version;
    if (!(actions & _UA_CLEANUP_PHASE) || exception_class != PANIC_CLASS)
        return _URC_CONTINUE_UNWIND; /* an exception, an exit, a cancellation: not ours to stop */

    const struct invocation *to = container_of(exception, struct invocation, exception);
    const struct invocation *const *here =
        (const void *)(_Unwind_GetCFA(context) + (_Unwind_Word)HERE_OFFSET);
    if (*here != to)
        return _URC_CONTINUE_UNWIND; /* the frame of a call further in */
    _Unwind_SetIP(context, (uintptr_t)sflight_invoke_landing);
    return _URC_INSTALL_CONTEXT;
}

/* Asked at each frame whether to stop there: never. */
static _Unwind_Reason_Code go_on(int version, _Unwind_Action actions,
                                 _Unwind_Exception_Class exception_class,
                                 struct _Unwind_Exception *exception,
                                 struct _Unwind_Context *context, void *arg)
{
    (void)version, (void)actions, (void)exception_class, (void)exception, (void)context, (void)arg;
    return _URC_NO_REASON;
}

bool invoke_is_left(const struct invocation *inner, const struct invocation *outer)
{
    uintptr_t in = (uintptr_t)inner, out = (uintptr_t)outer;
    pthread_attr_t attr;
    void *stack;
    size_t size;
    int saved = errno;
    bool known = pthread_getattr_np(pthread_self(), &attr) == 0;

    if (known) {
        known = pthread_attr_getstack(&attr, &stack, &size) == 0;
        (void)pthread_attr_destroy(&attr);
    }
    errno = saved;
    return known && in - (uintptr_t)stack < size && out - (uintptr_t)stack < size && in < out;
}

_Noreturn void invoke_left(void)
{
    fputs("singleflight: a callback, or destroy, was left, by an exception or by its thread, where "
          "it must return\n",
          stderr);
    abort();
}

_Noreturn void invoke_unwind(struct invocation *to)
{
    memset(&to->exception, 0, sizeof(to->exception));
    to->exception.exception_class = PANIC_CLASS;
    ASAN_FRAMES_GO();
    (void)_Unwind_ForcedUnwind(&to->exception, go_on, NULL);
    /* Only if a function on the way has no unwind tables, as C++ would terminate. */
    fputs("sflight_panic: cannot unwind the stack\n", stderr);
    abort();
}
