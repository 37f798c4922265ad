/* The well-trodden part of a translation: pages that are in the TLB, or to which stage 1 alone leads without anything
   that has to be told, marked or refused. All else is left to smmu/walk.py, which can do everything and is what this
   is compared with. */
#ifndef WDASYNC_HIP08_WALK_H
#define WDASYNC_HIP08_WALK_H

#include "tlb.h"

/* Where translation tables can lie: `size` bytes at physical address `base`, at `host` in this process. */
struct walk_memory {
    uintptr_t host;
    uint64_t base, size;
};

/* Of a regime.Regime what a plain walk needs. */
struct walk_regime {
    uint64_t tag, global_tag;
    uint64_t limit; /* addresses below it need no range check */
    bool walks;     /* stage 1 alone: tables can be walked here */
    bool hierarchical, hardware_access, ignore_access, hardware_dirty, wxn, pan;
    uint8_t start, granule, input_bits, output_bits;
    uint64_t base;
};

/* What was done, for smmu/statistics.py. */
struct walk_counts {
    uint64_t pages, hits, walks, fetches, evictions;
};

enum { WALK_PAGE = 4096, WALK_LEVELS = 4 };

/* Walk for one unprivileged data access. False: not here. `fetched` gets the physical address of each descriptor that
   was read, WALK_LEVELS at most, `fetches` how many. */
bool walk_one(const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va, bool write,
              struct tlb_entry *entry, uint64_t *fetched, unsigned *fetches);

/* Translate unprivileged accesses to the pages of [va, va + nbytes), one after the other, up to the first that is not
   to be had here, and at most `limit`. The physical address of each is stored in `pa`; how many there were. */
size_t walk_pages(struct tlb *tlb, const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va,
                  uint64_t nbytes, bool write, uint64_t *pa, size_t limit, struct walk_counts *counts);

#endif
