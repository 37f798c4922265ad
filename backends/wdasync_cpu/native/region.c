/* See region.h. Locks: `lock` guards the lists and what was said about a region; a region's `in_use` keeps its memory
 * where it is while the kernel copies into it. They are taken in this order. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 5.11; older headers do not have it. Faults of the kernel itself need a privilege, and are not wanted. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions;    /* that are open */
static struct fault_line *lines;  /* that are open */
static uint64_t last_number;
static bool ended;

void regions_forget(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    for (struct fault_line *line = lines; line; line = line->next) {
        close(line->descriptor); /* it is about the parent's memory */
        line->descriptor = -1;
    }
    lines = NULL;
    regions = NULL;
    ended = false;
}

/* ---- lines --------------------------------------------------------------------------------------------------- */

static int open_descriptor(void)
{
#ifdef SYS_userfaultfd
    struct uffdio_api api = {.api = UFFD_API, .features = 0};
    int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (descriptor >= 0 && ioctl(descriptor, UFFDIO_API, &api) < 0) {
        int error = errno;
        close(descriptor);
        errno = error;
        return -1;
    }
    return descriptor;
#else
    errno = ENOSYS;
    return -1;
#endif
}

struct fault_line *line_open(void)
{
    struct fault_line *line = calloc(1, sizeof *line);
    if (!line)
        return NULL;
    if ((line->descriptor = open_descriptor()) < 0) {
        free(line);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    line->next = lines;
    lines = line;
    pthread_mutex_unlock(&lock);
    return line;
}

void line_close(struct fault_line *line)
{
    pthread_mutex_lock(&lock);
    struct fault_line **link = &lines;
    while (*link && *link != line)
        link = &(*link)->next;
    if (*link) {
        *link = line->next;
        close(line->descriptor);
        line->descriptor = -1;
    }
    pthread_mutex_unlock(&lock);
}

void line_free(struct fault_line *line)
{
    line_close(line);
    free(line);
}

/* Call with `lock` held. */
static struct region *region_at(const struct fault_line *line, uintptr_t address)
{
    struct region *region = regions;
    while (region && (region->line != line || address - (uintptr_t)region->input.data >= region->size))
        region = region->next;
    return region;
}

bool line_next(struct fault_line *line, struct touch *touch, void (*hold)(void *owner))
{
    struct uffd_msg message;
    while (read(line->descriptor, &message, sizeof message) == (ssize_t)sizeof message) {
        if (message.event != UFFD_EVENT_PAGEFAULT)
            continue;
        uintptr_t address = message.arg.pagefault.address & ~(uintptr_t)(REGION_PAGE - 1);
        pthread_mutex_lock(&lock);
        struct region *region = region_at(line, address);
        if (region) {
            *touch = (struct touch){region->number, address - (uintptr_t)region->input.data, region->owner};
            hold(region->owner);
        }
        pthread_mutex_unlock(&lock);
        if (region)
            return true;
    }
    return false;
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

/* Call with `lock` held. */
static struct region *find(uint64_t number)
{
    struct region *region = regions;
    while (region && region->number != number)
        region = region->next;
    return region;
}

/* The kernel stops before a page that is there already, or for which it has no memory: then the rest is, or will be asked
 * for. False: it had none for the first. */
static bool copy_in(const struct region *region, size_t offset, size_t length)
{
    uintptr_t to = (uintptr_t)region->input.data;
    size_t begin = offset;
    while (length) {
        struct uffdio_copy copy = {.dst = to + offset, .src = (uintptr_t)region->source + offset, .len = length};
        if (!ioctl(region->line->descriptor, UFFDIO_COPY, &copy))
            return true;
        if (errno == EEXIST) {
            struct uffdio_range range = {to + offset, length};
            return !ioctl(region->line->descriptor, UFFDIO_WAKE, &range);
        }
        if (errno != EAGAIN)
            return offset > begin;
        if (copy.copy > 0) {
            offset += (size_t)copy.copy;
            length -= (size_t)copy.copy;
        }
    }
    return true;
}

bool region_supply(uint64_t number, size_t offset, size_t length, bool asked)
{
    pthread_mutex_lock(&lock);
    struct region *region = find(number);
    bool good = region && !atomic_load(&region->refused) && offset < region->size;
    if (good) {
        region->taken += asked;
        pthread_mutex_lock(&region->in_use);
    }
    pthread_mutex_unlock(&lock);
    if (good) {
        good = copy_in(region, offset, length < region->size - offset ? length : region->size - offset);
        if (!good)
            region->taken -= asked; /* the refusal counts it */
        pthread_mutex_unlock(&region->in_use);
    }
    return good;
}

/* For want of memory the region stays on the line: then nothing may be absent from it. What is there already stays. */
static void fill_with_zeros(const struct region *region)
{
    for (size_t offset = 0; offset < region->size; offset += REGION_PAGE) {
        struct uffdio_zeropage page = {.range = {(uintptr_t)region->input.data + offset, REGION_PAGE}};
        while (ioctl(region->line->descriptor, UFFDIO_ZEROPAGE, &page) < 0 && errno == EAGAIN)
            ;
    }
}

/* The kernel wakes who is parked before it takes the memory off the line, and a touch does not wait for that: one in
 * between parks the worker, and nobody answers it. So the worker is woken once more, when no touch parks it. */
static void take_off_line(const struct region *region)
{
    struct uffdio_range range = {(uintptr_t)region->input.data, region->size};
    if (ioctl(region->line->descriptor, UFFDIO_UNREGISTER, &range) < 0)
        fill_with_zeros(region);
    ioctl(region->line->descriptor, UFFDIO_WAKE, &range);
}

/* Nobody will be asked any more: the worker goes on, and reads zeros. Call with `lock` held. */
static bool refuse(struct region *region, enum status status, void *reason)
{
    if (atomic_load(&region->refused))
        return false;
    region->status = (uint8_t)status;
    region->reason = reason;
    atomic_store(&region->refused, true);
    if (region->number)
        take_off_line(region);
    return true;
}

bool region_refuse(uint64_t number, enum status status, void *reason)
{
    pthread_mutex_lock(&lock);
    struct region *region = find(number);
    bool good = region && refuse(region, status, reason);
    if (good)
        region->taken++;
    pthread_mutex_unlock(&lock);
    return good;
}

void region_abort(struct region *region)
{
    pthread_mutex_lock(&lock);
    refuse(region, STATUS_ABORTED, NULL);
    pthread_mutex_unlock(&lock);
}

void regions_end(void)
{
    pthread_mutex_lock(&lock);
    ended = true;
    for (struct region *region = regions; region; region = region->next)
        refuse(region, STATUS_ABORTED, NULL);
    pthread_mutex_unlock(&lock);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

struct region *region_new(struct fault_line *line, const uint8_t *source, size_t size, void *owner)
{
    struct region *region = calloc(1, sizeof *region);
    if (region) {
        region->line = line;
        region->source = source;
        region->size = (size + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
        region->owner = owner;
        region->input.size = size;
        pthread_mutex_init(&region->in_use, NULL);
    }
    return region;
}

void region_free(struct region *region)
{
    pthread_mutex_destroy(&region->in_use);
    free(region);
}

/* Call with `lock` held, so that no refusal is missed. */
static int put_on_line(struct region *region)
{
    struct uffdio_register request = {
        .range = {(uintptr_t)region->input.data, region->size},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ended)
        refuse(region, STATUS_ABORTED, NULL);
    if (atomic_load(&region->refused))
        return ECANCELED;
    if (ioctl(region->line->descriptor, UFFDIO_REGISTER, &request) < 0)
        return errno;
    region->number = ++last_number;
    region->next = regions;
    regions = region;
    return 0;
}

int region_open(struct region *region)
{
    void *memory = mmap(NULL, region->size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return errno;
    madvise(memory, region->size, MADV_DONTFORK);
    pthread_mutex_lock(&lock);
    region->input.data = memory;
    int error = put_on_line(region);
    pthread_mutex_unlock(&lock);
    if (error) {
        munmap(memory, region->size);
        region->input.data = NULL;
    }
    return error;
}

void region_close(struct region *region)
{
    pthread_mutex_lock(&lock);
    struct region **link = &regions;
    while (*link && *link != region)
        link = &(*link)->next;
    if (*link)
        *link = region->next;
    region->number = 0;
    pthread_mutex_lock(&region->in_use); /* a copy may be under way */
    pthread_mutex_unlock(&region->in_use);
    pthread_mutex_unlock(&lock);
    if (region->input.data)
        munmap((void *)(uintptr_t)region->input.data, region->size);
    region->input.data = NULL;
}

bool region_was_refused(const struct region *region)
{
    return atomic_load_explicit(&region->refused, memory_order_acquire);
}
