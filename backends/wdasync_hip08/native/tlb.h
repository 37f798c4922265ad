/* The TLB's memory: cached translations by (address space, page), the least recently used one goes first. What a TLB
   is, and when its entries go, is said in smmu/tlb.py and smmu/invalidation.py. */
#ifndef WDASYNC_HIP08_TLB_H
#define WDASYNC_HIP08_TLB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tlb_entry {
    uint64_t tag; /* of the address space, as regime.Tag.key */
    uint64_t address, pa, ipa;
    uint32_t permissions;
    uint8_t shift; /* log2 of the size */
    uint8_t granule, level;
    bool has_ipa, shared; /* shared: a global one, of every ASID */
};

enum { TLB_SHIFTS = 64 };

struct tlb_slot {
    struct tlb_entry entry;
    int32_t older, newer; /* by last use; `newer` chains the free ones */
    int32_t chain;        /* next in the same bucket */
};

/* Others than the owner may look at it while it is in use, so everything takes the lock. */
struct tlb {
    pthread_mutex_t lock;
    uint32_t capacity, count, mask, globals;
    int32_t oldest, newest, free;
    struct tlb_slot *slots;
    int32_t *buckets;
    uint32_t counts[TLB_SHIFTS]; /* entries of each size */
    uint8_t shifts[TLB_SHIFTS];  /* the sizes in use, in the order in which they came into use */
    uint8_t sizes;
};

struct tlb *tlb_new(uint32_t capacity); /* NULL: no memory */
void tlb_free(struct tlb *tlb);

/* The entry of address space `tag`, or a global one of `global_tag`, that covers `address`; it counts as used. */
bool tlb_find(struct tlb *tlb, uint64_t tag, uint64_t global_tag, uint64_t address, struct tlb_entry *found);

/* Remember an entry in place of the one of the same page; how many were evicted for it. */
uint32_t tlb_insert(struct tlb *tlb, const struct tlb_entry *entry);

/* Copies of the entries, the least recently used first; at most `limit`. */
uint32_t tlb_list(struct tlb *tlb, struct tlb_entry *out, uint32_t limit);

/* Which entries an invalidation is about: `tag & mask` is `tag` or `other`, the entry covers some of [low, high], and it
   is of that granule and level, where these are not 0. */
struct tlb_scope {
    uint64_t mask, tag, other, low, high;
    uint8_t granule, level;
};

/* Forget them; how many there were. */
uint32_t tlb_invalidate(struct tlb *tlb, const struct tlb_scope *scope);

/* Forget the entry of that page, if there is one. */
void tlb_remove(struct tlb *tlb, uint64_t tag, uint8_t shift, uint64_t address);

uint32_t tlb_count(struct tlb *tlb);

/* For who has the lock already. */
struct tlb_entry *tlb_look(struct tlb *tlb, uint64_t tag, uint64_t global_tag, uint64_t address);
uint32_t tlb_put(struct tlb *tlb, const struct tlb_entry *entry);

#endif
