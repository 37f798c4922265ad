/* See mapping.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mapping.h"

#include <errno.h>
#include <sys/mman.h>

intptr_t wdu_map(int fd, size_t nbytes, int64_t offset)
{
    void *memory = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (memory == MAP_FAILED)
        return -errno;
    if (madvise(memory, nbytes, MADV_DONTFORK)) {
        int number = errno;
        munmap(memory, nbytes);
        return -number;
    }
    return (intptr_t)memory;
}

int wdu_vacate(uintptr_t address, size_t nbytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, number = errno, result;
    void *memory = mmap((void *)address, nbytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    result = memory == MAP_FAILED ? -errno : 0;
    errno = number;
    return result;
}

int wdu_unmap(uintptr_t address, size_t nbytes)
{
    return munmap((void *)address, nbytes) ? -errno : 0;
}
