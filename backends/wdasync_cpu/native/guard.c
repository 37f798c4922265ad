/* See guard.h. On the way in and out this costs a few loads and stores: the mask of signals is not saved, since our
 * handler does not change it, and the kernel tells what it was before. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "codec.h"

struct guard {
    sigjmp_buf back;
    struct request *const *requests;
    unsigned count;
    uintptr_t address; /* where nothing was */
    sigset_t mask;     /* of signals, before the handler ran */
};

/* A handler may not allocate, as the first look at a variable of a thread may; so glibc is told to have it at hand. */
#ifdef __GLIBC__
#define AT_HAND __attribute__((tls_model("initial-exec")))
#else
#define AT_HAND
#endif

static _Thread_local AT_HAND struct guard *volatile current;

static struct sigaction before;
static uintptr_t page; /* its size in bytes */
static bool installed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Whole pages: they are there or not, and a codec may read in words. */
static bool lies_in(const void *data, size_t size, uintptr_t address)
{
    uintptr_t begin = (uintptr_t)data / page, end = ((uintptr_t)data + size + page - 1) / page;
    return size && address / page >= begin && address / page < end;
}

static bool is_of(const struct request *request, uintptr_t address)
{
    for (uint32_t i = 0; i < request->count + request->others; i++)
        if (lies_in(request->segments[i].data, request->segments[i].size, address))
            return true;
    return request->into && lies_in(request->out, request->room, address);
}

static bool is_of_any(const struct guard *guard, uintptr_t address)
{
    for (unsigned i = 0; i < guard->count; i++)
        if (is_of(guard->requests[i], address))
            return true;
    return false;
}

static void pass_on(int number, siginfo_t *info, void *context, bool sent)
{
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else if (before.sa_handler == SIG_DFL || !sent) {
        signal(number, SIG_DFL); /* a fault comes again by itself when we return */
        if (sent)
            raise(number);
    }
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct guard *guard = current;
    bool sent = info->si_code <= 0; /* by a process, and about no address */
    if (guard && !sent && is_of_any(guard, (uintptr_t)info->si_addr)) {
        guard->address = (uintptr_t)info->si_addr;
        guard->mask = ((const ucontext_t *)context)->uc_sigmask;
        siglongjmp(guard->back, 1);
    }
    /* A handler that was put before ours, as that of Python's faulthandler may be, says it again, but not where. When it
       returns, the access is made again, and comes here. */
    if (guard && info->si_code == SI_TKILL && info->si_pid == getpid())
        return;
    pass_on(number, info, context, sent);
}

static void install_once(void)
{
    struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&ours.sa_mask);
    installed = !sigaction(SIGBUS, NULL, &before) && !sigaction(SIGBUS, &ours, NULL);
}

bool guard_install(void)
{
    pthread_once(&once, install_once);
    return installed;
}

static const char WHY[] = "a mapped file that was truncated, or whose disk is full";

const char *guard_why(void)
{
    return WHY;
}

static void say_where(struct request *request, uintptr_t address)
{
    size_t position = 0;
    for (uint32_t i = 0; i < request->count + request->others; position += request->segments[i++].size) {
        const struct segment *segment = &request->segments[i];
        uintptr_t begin = (uintptr_t)segment->data;
        if (lies_in(segment->data, segment->size, address)) {
            position += address > begin ? address - begin : 0;
            fail(request, STATUS_PAGE_FAULT, CAUSE_NONE, "no memory at byte %zu of the input: %s", position, WHY);
            return;
        }
    }
    position = address > (uintptr_t)request->out ? address - (uintptr_t)request->out : 0;
    fail(request, STATUS_PAGE_FAULT, CAUSE_NONE, "no memory at byte %zu of the output: %s", position, WHY);
}

/* After the handler. */
static void leave(const struct guard *guard)
{
    current = NULL;
    pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

bool guarded(void (*work)(void *kit, struct request *request), void *kit, struct request *request)
{
    struct guard guard;
    guard.requests = &request;
    guard.count = 1;
    if (sigsetjmp(guard.back, 0)) {
        leave(&guard);
        say_where(request, guard.address);
        return false;
    }
    current = &guard;
    work(kit, request);
    current = NULL;
    return true;
}

bool guarded_all(void (*work)(void *kit, struct request *const *requests, unsigned count), void *kit,
                 struct request *const *requests, unsigned count)
{
    struct guard guard;
    guard.requests = requests;
    guard.count = count;
    if (sigsetjmp(guard.back, 0)) {
        leave(&guard);
        return false;
    }
    current = &guard;
    work(kit, requests, count);
    current = NULL;
    return true;
}

size_t guarded_copy(void *to, const void *from, size_t size)
{
    struct segment input = {from, size};
    struct request request = {.segments = &input, .count = 1, .into = true, .out = to, .room = size};
    struct request *const requests[] = {&request};
    struct guard guard;
    guard_install(); /* it was, unless no device is open */
    guard.requests = requests;
    guard.count = 1;
    if (sigsetjmp(guard.back, 0)) {
        leave(&guard);
        uintptr_t begin = (uintptr_t)(lies_in(from, size, guard.address) ? from : to);
        return guard.address > begin ? guard.address - begin : 0;
    }
    current = &guard;
    atomic_signal_fence(memory_order_seq_cst); /* nothing is touched before the guard is up, or after it is down */
    memcpy(to, from, size);
    atomic_signal_fence(memory_order_seq_cst);
    current = NULL;
    return size;
}
