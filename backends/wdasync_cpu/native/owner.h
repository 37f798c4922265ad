/* How much of a core the owner of a queue wants for itself. */
#ifndef WDASYNC_OWNER_H
#define WDASYNC_OWNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct owner {
    bool known;
    clockid_t clock;      /* of the CPU time of its thread */
    atomic_flag looking;  /* held by who judges, and writes what is below */
    _Atomic int64_t looked; /* when, in nanoseconds */
    int64_t used;         /* CPU time that its thread had had then, in nanoseconds */
    int64_t slept;        /* how often threads of the program had gone to sleep */
    atomic_bool busy;
};

/* Its own thread says so, before it hands out the first work. */
void owner_is_here(struct owner *owner);

/* Anybody asks. */
bool owner_is_busy(struct owner *owner);

#endif
