#include "tlb.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

static uint32_t bucket_of(const struct tlb *tlb, uint64_t tag, uint8_t shift, uint64_t address)
{
    uint64_t hash = (address >> shift) * 0x9E3779B97F4A7C15u ^ (tag * 64 + shift) * 0xC2B2AE3D27D4EB4Fu;
    return (uint32_t)(hash >> 32) & tlb->mask;
}

struct tlb *tlb_new(uint32_t capacity)
{
    uint32_t buckets = 1;
    while (buckets < capacity)
        buckets *= 2;
    struct tlb *tlb = calloc(1, sizeof *tlb);
    if (!tlb)
        return NULL;
    tlb->slots = calloc(capacity, sizeof *tlb->slots);
    tlb->buckets = malloc(buckets * sizeof *tlb->buckets);
    if (!capacity || !tlb->slots || !tlb->buckets || pthread_mutex_init(&tlb->lock, NULL)) {
        free(tlb->slots);
        free(tlb->buckets);
        free(tlb);
        return NULL;
    }
    tlb->capacity = capacity;
    tlb->mask = buckets - 1;
    tlb->oldest = tlb->newest = NONE;
    for (uint32_t i = 0; i < buckets; i++)
        tlb->buckets[i] = NONE;
    for (uint32_t i = 0; i < capacity; i++)
        tlb->slots[i].newer = i + 1 < capacity ? (int32_t)i + 1 : NONE;
    return tlb;
}

void tlb_free(struct tlb *tlb)
{
    if (tlb) {
        pthread_mutex_destroy(&tlb->lock);
        free(tlb->slots);
        free(tlb->buckets);
        free(tlb);
    }
}

/* ---- order of use -------------------------------------------------------------------------------------------- */

static void unlink_slot(struct tlb *tlb, struct tlb_slot *slot)
{
    *(slot->older == NONE ? &tlb->oldest : &tlb->slots[slot->older].newer) = slot->newer;
    *(slot->newer == NONE ? &tlb->newest : &tlb->slots[slot->newer].older) = slot->older;
}

static void link_newest(struct tlb *tlb, int32_t index)
{
    struct tlb_slot *slot = &tlb->slots[index];
    slot->older = tlb->newest;
    slot->newer = NONE;
    *(tlb->newest == NONE ? &tlb->oldest : &tlb->slots[tlb->newest].newer) = index;
    tlb->newest = index;
}

/* ---- sizes in use -------------------------------------------------------------------------------------------- */

static void size_comes(struct tlb *tlb, uint8_t shift)
{
    if (!tlb->counts[shift]++)
        tlb->shifts[tlb->sizes++] = shift;
}

static void size_goes(struct tlb *tlb, uint8_t shift)
{
    if (--tlb->counts[shift])
        return;
    uint8_t *at = memchr(tlb->shifts, shift, tlb->sizes);
    memmove(at, at + 1, (size_t)(tlb->shifts + --tlb->sizes - at));
}

/* ---- entries ------------------------------------------------------------------------------------------------- */

static int32_t index_of(const struct tlb *tlb, uint64_t tag, uint8_t shift, uint64_t address)
{
    int32_t index = tlb->buckets[bucket_of(tlb, tag, shift, address)];
    while (index != NONE) {
        const struct tlb_entry *entry = &tlb->slots[index].entry;
        if (entry->tag == tag && entry->shift == shift && entry->address >> shift == address >> shift)
            break;
        index = tlb->slots[index].chain;
    }
    return index;
}

static void drop(struct tlb *tlb, int32_t index)
{
    struct tlb_slot *slot = &tlb->slots[index];
    int32_t *link = &tlb->buckets[bucket_of(tlb, slot->entry.tag, slot->entry.shift, slot->entry.address)];
    while (*link != index)
        link = &tlb->slots[*link].chain;
    *link = slot->chain;
    unlink_slot(tlb, slot);
    size_goes(tlb, slot->entry.shift);
    tlb->globals -= slot->entry.shared;
    tlb->count--;
    slot->newer = tlb->free;
    tlb->free = index;
}

static struct tlb_entry *look_for(struct tlb *tlb, uint64_t tag, uint64_t address)
{
    for (uint8_t i = 0; i < tlb->sizes; i++) {
        int32_t index = index_of(tlb, tag, tlb->shifts[i], address);
        if (index != NONE) {
            unlink_slot(tlb, &tlb->slots[index]);
            link_newest(tlb, index);
            return &tlb->slots[index].entry;
        }
    }
    return NULL;
}

struct tlb_entry *tlb_look(struct tlb *tlb, uint64_t tag, uint64_t global_tag, uint64_t address)
{
    struct tlb_entry *found = look_for(tlb, tag, address);
    return found || !tlb->globals ? found : look_for(tlb, global_tag, address);
}

uint32_t tlb_put(struct tlb *tlb, const struct tlb_entry *entry)
{
    uint32_t evicted = 0;
    int32_t index = index_of(tlb, entry->tag, entry->shift, entry->address);
    if (index != NONE)
        drop(tlb, index);
    for (; tlb->count >= tlb->capacity; evicted++)
        drop(tlb, tlb->oldest);
    index = tlb->free;
    struct tlb_slot *slot = &tlb->slots[index];
    tlb->free = slot->newer;
    slot->entry = *entry;
    int32_t *bucket = &tlb->buckets[bucket_of(tlb, entry->tag, entry->shift, entry->address)];
    slot->chain = *bucket;
    *bucket = index;
    link_newest(tlb, index);
    size_comes(tlb, entry->shift);
    tlb->globals += entry->shared;
    tlb->count++;
    return evicted;
}

bool tlb_find(struct tlb *tlb, uint64_t tag, uint64_t global_tag, uint64_t address, struct tlb_entry *found)
{
    pthread_mutex_lock(&tlb->lock);
    const struct tlb_entry *entry = tlb_look(tlb, tag, global_tag, address);
    if (entry)
        *found = *entry;
    pthread_mutex_unlock(&tlb->lock);
    return entry;
}

uint32_t tlb_insert(struct tlb *tlb, const struct tlb_entry *entry)
{
    if (entry->shift >= TLB_SHIFTS)
        return 0;
    pthread_mutex_lock(&tlb->lock);
    uint32_t evicted = tlb_put(tlb, entry);
    pthread_mutex_unlock(&tlb->lock);
    return evicted;
}

static bool overlaps(const struct tlb_entry *entry, uint64_t low, uint64_t high)
{
    return entry->address <= high && low <= entry->address + ((UINT64_C(1) << entry->shift) - 1);
}

static bool meant(const struct tlb_entry *entry, const struct tlb_scope *scope)
{
    uint64_t tag = entry->tag & scope->mask;
    return (tag == scope->tag || tag == scope->other) && overlaps(entry, scope->low, scope->high) &&
           (!scope->granule || scope->granule == entry->granule) && (!scope->level || scope->level == entry->level);
}

uint32_t tlb_invalidate(struct tlb *tlb, const struct tlb_scope *scope)
{
    uint32_t count = 0;
    pthread_mutex_lock(&tlb->lock);
    for (int32_t index = tlb->oldest, newer; index != NONE; index = newer) {
        newer = tlb->slots[index].newer;
        if (meant(&tlb->slots[index].entry, scope)) {
            drop(tlb, index);
            count++;
        }
    }
    pthread_mutex_unlock(&tlb->lock);
    return count;
}

uint32_t tlb_list(struct tlb *tlb, struct tlb_entry *out, uint32_t limit)
{
    uint32_t count = 0;
    pthread_mutex_lock(&tlb->lock);
    for (int32_t index = tlb->oldest; index != NONE && count < limit; index = tlb->slots[index].newer)
        out[count++] = tlb->slots[index].entry;
    pthread_mutex_unlock(&tlb->lock);
    return count;
}

void tlb_remove(struct tlb *tlb, uint64_t tag, uint8_t shift, uint64_t address)
{
    if (shift >= TLB_SHIFTS)
        return;
    pthread_mutex_lock(&tlb->lock);
    int32_t index = index_of(tlb, tag, shift, address);
    if (index != NONE)
        drop(tlb, index);
    pthread_mutex_unlock(&tlb->lock);
}

uint32_t tlb_count(struct tlb *tlb)
{
    pthread_mutex_lock(&tlb->lock);
    uint32_t count = tlb->count;
    pthread_mutex_unlock(&tlb->lock);
    return count;
}
