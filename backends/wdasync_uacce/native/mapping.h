/* A region of an opened queue in this process's memory. */
#ifndef WDASYNC_UACCE_MAPPING_H
#define WDASYNC_UACCE_MAPPING_H

#include <stddef.h>
#include <stdint.h>

/* The kernel takes shared mappings only. Children do not get it, whatever the kernel's driver says: a child that rang our
   doorbell would work with our address space. Its address, or -errno. */
intptr_t wdu_map(int fd, size_t nbytes, int64_t offset);

/* 0, or -errno. */
int wdu_unmap(uintptr_t address, size_t nbytes);

/* Give a mapping's file back, and leave plain memory of zeros in its place, for those who still have its address. It may be
   called in a handler of a signal. 0, or -errno. */
int wdu_vacate(uintptr_t address, size_t nbytes);

#endif
