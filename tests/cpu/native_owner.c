/* Whether the owner of a queue is busy. The program stands between it and the kernel: its clocks are those that are linked.
 *
 * Exits with 0, or with 1 and a line that says what was not as expected.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "owner.h"

enum { MILLISECOND = 1000000 };

static int64_t now = 1000 * (int64_t)MILLISECOND, used, slept;
static const char *story;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int64_t shown = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ? now : used;
    *time = (struct timespec){shown / 1000000000, shown % 1000000000};
    return 0;
}

int getrusage(int who, struct rusage *usage)
{
    *usage = (struct rusage){.ru_nvcsw = who == RUSAGE_SELF ? slept : 0};
    return 0;
}

/* So many milliseconds go by, of which the owner uses some thousandths; and somebody asks. */
static void pass(struct owner *owner, int milliseconds, int thousandths, int sleeps, bool busy)
{
    now += (int64_t)milliseconds * MILLISECOND;
    used += (int64_t)milliseconds * MILLISECOND * thousandths / 1000;
    slept += sleeps;
    if (owner_is_busy(owner) == busy)
        return;
    printf("%s: expected it to be %s after %d ms, %d thousandths used, %d sleeps\n", story, busy ? "busy" : "free", milliseconds,
           thousandths, sleeps);
    exit(1);
}

int main(void)
{
    struct owner owner = {.known = false};
    owner_is_here(&owner);

    story = "who sleeps often is busy from a quarter on";
    pass(&owner, 20, 240, 100, false);
    pass(&owner, 20, 260, 100, true);
    pass(&owner, 20, 240, 100, false);

    story = "who seldom sleeps is busy from a half on";
    pass(&owner, 20, 490, 39, false);
    pass(&owner, 20, 510, 39, true);
    pass(&owner, 20, 490, 39, false);
    pass(&owner, 20, 490, 41, true);

    story = "nobody looks again so soon";
    pass(&owner, 20, 100, 0, false);
    pass(&owner, 9, 1000, 0, false);
    pass(&owner, 9, 1000, 0, true);

    story = "what is long ago says nothing";
    pass(&owner, 60, 1000, 1000, false);

    story = "it is as it was until somebody looks again";
    pass(&owner, 20, 1000, 0, true);
    pass(&owner, 5, 0, 0, true);
    pass(&owner, 20, 0, 0, false);

    puts("good");
    return 0;
}
