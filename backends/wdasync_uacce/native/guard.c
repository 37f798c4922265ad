/* See guard.h. On the way in and out this costs a few loads and stores: the mask of signals is not saved, since our
 * handler does not change it, and the kernel tells what it was before. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>
#include <unistd.h>

#include "mapping.h"

/* A handler may not allocate, as the first look at a variable of a thread may; so glibc is told to have it at hand. */
#ifdef __GLIBC__
#define AT_HAND __attribute__((tls_model("initial-exec")))
#else
#define AT_HAND
#endif

static _Thread_local AT_HAND struct guard *volatile current;

enum { LEVELS = 8, PATIENCE = 100, KEPT = 1024 };

static wdu_region *kept[KEPT];
static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

/* The handlers below ours, the last one on top. Mostly there is one. Who puts his own above ours later, and it is found
   there, gets ours above his; his leads to ours again when it is done, and then the next one below is meant. */
static struct sigaction before[LEVELS];
static int levels;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Of this thread: handlers below ours that are at work; a foreign fault whose handler returned, and how often. */
static _Thread_local AT_HAND int passing, returns;
static _Thread_local AT_HAND const void *returned;

static bool is_guarded(const struct guard *guard, uintptr_t address)
{
    for (int i = 0; i < 2; i++)
        if (address - guard->spans[i].address < guard->spans[i].size)
            return true;
    return false;
}

static bool replace_kept(uintptr_t address)
{
    for (int i = 0; i < KEPT; i++) {
        wdu_region *region = __atomic_load_n(&kept[i], __ATOMIC_ACQUIRE);
        if (region && address - region->address < region->size && !wdu_vacate(region->address, region->size)) {
            __atomic_store_n(&region->state, WDU_GONE, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

static int move(wdu_region *from, wdu_region *to)
{
    int outcome = ENOSPC;
    pthread_mutex_lock(&keeping);
    for (int i = 0; i < KEPT && outcome; i++) {
        if (kept[i] == from) {
            __atomic_store_n(&kept[i], to, __ATOMIC_RELEASE);
            outcome = 0;
        }
    }
    pthread_mutex_unlock(&keeping);
    return outcome;
}

int wdu_guard_keep(wdu_region *region)
{
    return move(NULL, region);
}

void wdu_guard_drop(wdu_region *region)
{
    move(region, NULL);
}

static void by_default(int number, bool sent)
{
    signal(number, SIG_DFL); /* a fault comes again by itself when we return */
    if (sent)
        raise(number);
}

static void pass_on(int number, siginfo_t *info, void *context, bool sent)
{
    passing = sent ? passing : 0; /* a handler below may have leapt away */
    int level = __atomic_load_n(&levels, __ATOMIC_ACQUIRE) - 1 - passing;
    const struct sigaction *below = &before[level < 0 ? 0 : level];
    bool told = below->sa_flags & SA_SIGINFO;
    if (level < 0 || (!told && below->sa_handler == SIG_DFL) || (!told && below->sa_handler == SIG_IGN && !sent)) {
        by_default(number, sent);
        return;
    }
    passing++;
    if (told)
        below->sa_sigaction(number, info, context);
    else if (below->sa_handler != SIG_IGN)
        below->sa_handler(number);
    passing--;
    /* A handler that was switched off returns, and mends nothing. */
    returns = !sent && info->si_addr == returned ? returns + 1 : 0;
    returned = sent ? NULL : info->si_addr;
    if (returns > PATIENCE)
        by_default(number, sent);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct guard *guard = current;
    bool sent = info->si_code <= 0; /* by a process, and about no address */
    if (guard && !sent && is_guarded(guard, (uintptr_t)info->si_addr)) {
        guard->fault = (uintptr_t)info->si_addr;
        guard->mask = ((const ucontext_t *)context)->uc_sigmask;
        siglongjmp(guard->back, 1);
    }
    if (!sent && replace_kept((uintptr_t)info->si_addr))
        return;
    /* A handler that was put before ours, as that of Python's faulthandler may be, says it again, but not where. When it
       returns, the access is made again, and comes here. */
    if (guard && info->si_code == SI_TKILL && info->si_pid == getpid())
        return;
    pass_on(number, info, context, sent);
}

static bool same(const struct sigaction *one, const struct sigaction *other)
{
    return one->sa_flags & SA_SIGINFO ? one->sa_sigaction == other->sa_sigaction : one->sa_handler == other->sa_handler;
}

static int install(void)
{
    struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction now;
    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGBUS, NULL, &now))
        return errno;
    if (same(&ours, &now))
        return 0;
    int level = levels;
    if (now.sa_handler == SIG_DFL)
        level = 0; /* nothing leads to those that were there */
    else if (level && (level == LEVELS || same(&before[level - 1], &now)))
        level--;
    before[level] = now;
    __atomic_store_n(&levels, level + 1, __ATOMIC_RELEASE);
    return sigaction(SIGBUS, &ours, NULL) ? errno : 0;
}

int wdu_guard_install(void)
{
    pthread_mutex_lock(&lock);
    int outcome = install();
    pthread_mutex_unlock(&lock);
    return outcome;
}

/* The compiler moves no access to memory over the two ends of a guard. */
void guard_enter(struct guard *guard)
{
    current = guard;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void guard_leave(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    current = NULL;
}

void guard_recover(const struct guard *guard)
{
    current = NULL;
    pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}
