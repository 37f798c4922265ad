/* A worker that is parked at a page goes on when its region is refused, whatever the kernel makes of that. The program
 * stands between the region and the kernel: its `ioctl` is the one that is linked.
 *
 * Exits with 0, or with 1 and a line that says what was not as expected; without userfaultfd, with 0 and a line about that.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "region.h"

enum { PATIENCE_S = 30 };

static uint8_t source[3 * REGION_PAGE];
static struct fault_line *line;
static const char *story;
static enum { AS_IT_IS, OVERTAKEN, NO_MEMORY } kernel;
static unsigned pages = 100; /* for which the kernel has memory */

static void expect(bool good, const char *what)
{
    if (good)
        return;
    printf("%s: expected %s\n", story, what);
    fflush(stdout);
    _Exit(1);
}

/* The kernel wakes who is parked, and only then takes the memory off the descriptor. This is what a touch finds that parks
 * in between: memory that is not watched any more, and nobody who wakes it. */
static int unregister_without_waking(const struct uffdio_range *range)
{
    int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap((void *)(uintptr_t)range->start, range->len, PROT_READ, flags, -1, 0);
    return memory == MAP_FAILED ? -1 : 0;
}

/* As many as there is memory for. */
static int copy_in(int descriptor, struct uffdio_copy *copy)
{
    struct uffdio_copy part = *copy;
    if (part.len > pages * REGION_PAGE)
        part.len = pages * REGION_PAGE;
    errno = ENOMEM;
    if (!part.len || syscall(SYS_ioctl, descriptor, UFFDIO_COPY, &part))
        return -1;
    pages -= (unsigned)(part.len / REGION_PAGE);
    copy->copy = part.copy;
    errno = EAGAIN;
    return part.len == copy->len ? 0 : -1;
}

int ioctl(int descriptor, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == UFFDIO_UNREGISTER && kernel == OVERTAKEN)
        return unregister_without_waking(argument);
    if (request == UFFDIO_COPY)
        return copy_in(descriptor, argument);
    if (request == UFFDIO_UNREGISTER && kernel == NO_MEMORY) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}

static void hold(void *owner)
{
    (void)owner;
}

static void *worker(void *argument)
{
    struct region *region = argument;
    expect(region_open(region) == 0, "a region that can be opened");
    uint8_t seen = ((volatile const uint8_t *)region->input.data)[REGION_PAGE];
    region_close(region);
    expect(seen == (region_was_refused(region) ? 0 : *source), "the page, or zeros where it was refused");
    return NULL;
}

static bool someone_waits(int milliseconds)
{
    struct pollfd descriptor = {line->descriptor, POLLIN, 0};
    return poll(&descriptor, 1, milliseconds) == 1;
}

/* Whoever serves the line does so until the worker is done. */
static void join(pthread_t thread)
{
    struct timespec end, now;
    struct touch touch;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_S;
    do {
        someone_waits(10);
        expect(!line_next(line, &touch, hold), "nobody to be asked for a page of what was refused");
        clock_gettime(CLOCK_REALTIME, &now);
        expect(now.tv_sec < end.tv_sec, "the worker to go on");
    } while (pthread_tryjoin_np(thread, NULL));
}

static struct region *with_parked_worker(pthread_t *thread)
{
    struct region *region = region_new(line, source, sizeof source, NULL);
    expect(region && !pthread_create(thread, NULL, worker, region), "a worker");
    expect(someone_waits(PATIENCE_S * 1000), "a touch");
    return region;
}

static void refused(void)
{
    pthread_t thread;
    struct touch touch;
    struct region *region = with_parked_worker(&thread);
    expect(line_next(line, &touch, hold) && touch.offset == REGION_PAGE, "the touch of the second page");
    expect(region_refuse(touch.number, STATUS_PAGE_FAULT, NULL), "a region that can be refused");
    join(thread);
    expect(region->status == STATUS_PAGE_FAULT && region->taken == 1, "a fault");
    region_free(region);
}

/* The page and the one behind it have come, and the kernel has memory for so many of them. */
static void supplied(unsigned kernel_pages)
{
    pthread_t thread;
    struct touch touch;
    struct region *region = with_parked_worker(&thread);
    expect(line_next(line, &touch, hold), "a touch to hear of");
    pages = kernel_pages;
    bool good = region_supply(touch.number, touch.offset, 2 * REGION_PAGE, true);
    expect(good == (kernel_pages > 0), "to hear whether the page is there");
    expect(good || region_refuse(touch.number, STATUS_PAGE_FAULT, NULL), "a region that can be refused");
    join(thread);
    expect(region->taken == 1, "one fault");
    region_free(region);
}

/* Nobody has heard of the touch. */
static void aborted(void)
{
    pthread_t thread;
    struct region *region = with_parked_worker(&thread);
    region_abort(region);
    join(thread);
    expect(region->status == STATUS_ABORTED && region->taken == 0, "an end without a fault");
    region_free(region);
}

int main(void)
{
    if (!(line = line_open())) {
        printf("no userfaultfd\n");
        return 0;
    }
    memset(source, 7, sizeof source);
    static const char *const STORIES[] = {"as it is", "a touch that overtakes", "no memory to take it off the line"};
    for (kernel = AS_IT_IS; kernel <= NO_MEMORY; kernel++) {
        story = STORIES[kernel];
        refused();
        aborted();
    }
    kernel = AS_IT_IS;
    story = "memory for some pages";
    for (unsigned count = 0; count <= 2; count++)
        supplied(count);
    line_free(line);
    printf("good\n");
    return 0;
}
