/* What a clock shows, in nanoseconds; 0 if there is none. */
#ifndef WDASYNC_CLOCK_H
#define WDASYNC_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

#endif
