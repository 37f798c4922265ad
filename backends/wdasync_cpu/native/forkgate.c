/* See forkgate.h. A lock for many or one. Of two threads that enter again and again one is always inside, and by itself such a
 * lock may let them: so all come through a turnstile, and the one who forks stops it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "forkgate.h"

#include <pthread.h>

static pthread_mutex_t turnstile = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;

void gate_enter(void)
{
    pthread_mutex_lock(&turnstile);
    pthread_rwlock_rdlock(&inside);
    pthread_mutex_unlock(&turnstile);
}

void gate_leave(void)
{
    pthread_rwlock_unlock(&inside);
}

static void before_fork(void)
{
    pthread_mutex_lock(&turnstile);
    pthread_rwlock_wrlock(&inside);
}

static void in_parent(void)
{
    pthread_rwlock_unlock(&inside);
    pthread_mutex_unlock(&turnstile);
}

/* Its only thread is not the one that locked them, as the C library counts. */
static void in_child(void)
{
    inside = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
    turnstile = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static bool watched;

static void watch_once(void)
{
    watched = !pthread_atfork(before_fork, in_parent, in_child);
}

bool gate_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_once);
    return watched;
}
