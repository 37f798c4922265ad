/* The pages of one address space that devices may touch, or could touch: grants, frame, entry in the page table. What
   is done with them and when is said in kernel/spaces.py. Everything takes the lock of the frames. */
#ifndef WDASYNC_HIP08_PAGES_H
#define WDASYNC_HIP08_PAGES_H

#include "frames.h"

struct page {
    uint64_t vpn;
    struct grants grants;
    struct frame *frame;      /* NULL: devices fault there */
    uint64_t *entry;          /* of the page table; where there is a frame */
    bool writable, idle;      /* idle: its last grant went; it is in the list */
    struct page *chain, *next_idle;
};

struct pages {
    struct frames *frames;
    struct page **buckets, *idle;
    size_t mask, count, mapped, granted;
};

/* What a leaf of the page table says besides the address. */
struct leaf_bits {
    uint64_t writable, read_only;
};

struct page_view {
    int64_t frame; /* its number; -1: none */
    uint64_t grants;
    bool writable, grants_write;
};

struct pages_counts {
    uint64_t pages, mapped, granted;
};

struct pages *pages_new(struct frames *frames); /* NULL: no memory */
void pages_free(struct pages *pages); /* What frames it still has are quarantined; no entry is touched. */
void pages_count(struct pages *pages, struct pages_counts *counts);
bool pages_look(struct pages *pages, uint64_t vpn, struct page_view *view); /* false: no such page */
size_t pages_grants(struct pages *pages, uint64_t vpn, struct grant *out, size_t limit);
size_t pages_list(struct pages *pages, uint64_t first, uint64_t end, uint64_t *vpns, size_t limit); /* in no order */

/* Grant bytes [address, address + nbytes), nbytes > 0. How many pages with a frame are still read-only where a grant
   now lets write: the first `limit` of them are stored in `upgraded`. -1: no memory, and nothing was granted.
   `complete`: whether each page has a frame. */
int64_t pages_grant(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable, uint64_t *upgraded,
                    size_t limit, bool *complete);

/* Take such a grant back. False: there is none, and nothing has changed. */
bool pages_revoke(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable);
void pages_revoke_all(struct pages *pages, uint64_t first, uint64_t end); /* of pages [first, end) */

/* Give frames to those of `count` pages from `vpn` on that are granted, have none, and are `wanted` (a byte each). They
   stand for the pages of `backing` from `page` on, and their entries are at `entries`. Writable are those that have a
   grant to write, if `writable`. How many, or -1: all frames are in use, -2: no memory; those before have theirs. */
int64_t pages_map(struct pages *pages, uint64_t vpn, size_t count, const uint8_t *wanted, uint32_t backing,
                  uint64_t page, bool writable, uintptr_t entries, const struct leaf_bits *bits);

/* Let a page with a frame be written. */
bool pages_make_writable(struct pages *pages, uint64_t vpn, const struct leaf_bits *bits);

/* Clear the entries of these pages and quarantine their frames; forget those without grants. The pages that had a
   frame are stored in `mapped`; how many. */
size_t pages_take(struct pages *pages, const uint64_t *vpns, size_t count, uint64_t *mapped);

/* The same with at most `limit` pages whose last grant has gone. */
size_t pages_take_idle(struct pages *pages, uint64_t *mapped, size_t limit);
bool pages_have_idle(struct pages *pages);

#endif
