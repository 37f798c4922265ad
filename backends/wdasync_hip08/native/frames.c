#include "frames.h"

#include <stdlib.h>
#include <string.h>

/* ---- grants -------------------------------------------------------------------------------------------------- */

static struct grant *items_of(struct grants *grants)
{
    return grants->items ? grants->items : &grants->one;
}

static bool same(struct grant a, struct grant b)
{
    return a.first == b.first && a.end == b.end && a.writable == b.writable;
}

bool grants_add(struct grants *grants, struct grant grant)
{
    if (grants->count >= (grants->items ? grants->room : 1)) {
        uint32_t room = grants->items ? grants->room * 2 : 4;
        struct grant *more = realloc(grants->items, room * sizeof *more);
        if (!more)
            return false;
        if (!grants->items)
            more[0] = grants->one;
        grants->items = more;
        grants->room = room;
    }
    items_of(grants)[grants->count++] = grant;
    return true;
}

static uint32_t index_of(struct grants *grants, struct grant grant)
{
    uint32_t index = 0;
    while (index < grants->count && !same(items_of(grants)[index], grant))
        index++;
    return index;
}

bool grants_have(const struct grants *grants, struct grant grant)
{
    return index_of((struct grants *)grants, grant) < grants->count;
}

bool grants_remove(struct grants *grants, struct grant grant)
{
    uint32_t index = index_of(grants, grant);
    if (index == grants->count)
        return false;
    struct grant *at = items_of(grants) + index;
    memmove(at, at + 1, (--grants->count - index) * sizeof *at);
    return true;
}

void grants_clear(struct grants *grants)
{
    free(grants->items);
    memset(grants, 0, sizeof *grants);
}

/* Whether [first, end) is granted, by one grant or by several that touch. */
static bool allowed(struct grants *grants, uint32_t first, uint32_t end, bool write)
{
    const struct grant *items = items_of(grants);
    for (bool further = true; further && first < end;) {
        further = false;
        for (uint32_t i = 0; i < grants->count; i++)
            if (items[i].first <= first && first < items[i].end && (items[i].writable || !write)) {
                first = items[i].end;
                further = true;
            }
    }
    return first >= end;
}

/* ---- frames -------------------------------------------------------------------------------------------------- */

/* A free frame is handed out again only from among so many: else no stale translation would ever show. */
enum { FEW = 64, FIRST_ROOM = 256 };

/* Steele, Lea and Flood's SplitMix64: it scrambles addresses and guards nothing. */
static uint64_t random_word(struct frames *frames)
{
    uint64_t word = frames->random += 0x9E3779B97F4A7C15u;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9u;
    word = (word ^ word >> 27) * 0x94D049BB133111EBu;
    return word ^ word >> 31;
}

static struct frame **bucket_of(const struct frames *frames, uint64_t number)
{
    return &frames->buckets[(number * 0x9E3779B97F4A7C15u >> 32) & frames->mask];
}

static struct frame *find(const struct frames *frames, uint64_t number)
{
    struct frame *frame = *bucket_of(frames, number);
    while (frame && frame->number != number)
        frame = frame->chain;
    return frame;
}

struct frames *frames_new(uint64_t base, unsigned bits, uint64_t seed)
{
    struct frames *frames = calloc(1, sizeof *frames);
    if (!frames)
        return NULL;
    frames->users = 1;
    frames->base = base;
    frames->bits = bits;
    frames->random = seed;
    frames->mask = FIRST_ROOM - 1;
    frames->room = FIRST_ROOM;
    frames->buckets = calloc(FIRST_ROOM, sizeof *frames->buckets);
    frames->free = calloc(FIRST_ROOM, sizeof *frames->free);
    frames->quarantine = calloc(FIRST_ROOM, sizeof *frames->quarantine);
    if (frames->buckets && frames->free && frames->quarantine && !pthread_mutex_init(&frames->lock, NULL))
        return frames;
    free(frames->buckets);
    free(frames->free);
    free(frames->quarantine);
    free(frames);
    return NULL;
}

void frames_free(struct frames *frames)
{
    if (!frames || __atomic_sub_fetch(&frames->users, 1, __ATOMIC_ACQ_REL))
        return;
    for (size_t i = 0; i <= frames->mask; i++)
        for (struct frame *frame = frames->buckets[i], *next; frame; frame = next) {
            next = frame->chain;
            grants_clear(&frame->own);
            free(frame);
        }
    pthread_mutex_destroy(&frames->lock);
    free(frames->buckets);
    free(frames->free);
    free(frames->quarantine);
    free(frames);
}

void frames_keep(struct frames *frames)
{
    __atomic_add_fetch(&frames->users, 1, __ATOMIC_ACQ_REL);
}

/* Room for one more frame in every list, so that nothing after its making can fail. */
static bool grow(struct frames *frames)
{
    if (frames->known < frames->room)
        return true;
    size_t room = frames->room * 2;
    struct frame **free_list = realloc(frames->free, room * sizeof *free_list);
    if (free_list)
        frames->free = free_list;
    struct frame **quarantine = realloc(frames->quarantine, room * sizeof *quarantine);
    if (quarantine)
        frames->quarantine = quarantine;
    struct frame **old = frames->buckets, **buckets = calloc(room, sizeof *buckets);
    if (!free_list || !quarantine || !buckets) {
        free(buckets);
        return false;
    }
    size_t olds = frames->mask + 1;
    frames->buckets = buckets;
    frames->mask = room - 1;
    frames->room = room;
    for (size_t i = 0; i < olds; i++)
        for (struct frame *frame = old[i], *next; frame; frame = next) {
            next = frame->chain;
            struct frame **bucket = bucket_of(frames, frame->number);
            frame->chain = *bucket;
            *bucket = frame;
        }
    free(old);
    return true;
}

static struct frame *fresh(struct frames *frames, int *error)
{
    struct frame *frame = grow(frames) ? calloc(1, sizeof *frame) : NULL;
    if (!frame) {
        *error = -2;
        return NULL;
    }
    do
        frame->number = random_word(frames) & ((UINT64_C(1) << frames->bits) - 1);
    while (find(frames, frame->number));
    struct frame **bucket = bucket_of(frames, frame->number);
    frame->chain = *bucket;
    *bucket = frame;
    frames->known++;
    return frame;
}

static struct frame *pick(struct frames *frames, int *error)
{
    bool all = frames->known == (size_t)1 << frames->bits;
    if (!frames->frees && all) {
        *error = -1;
        return NULL;
    }
    if (frames->frees <= FEW && !all)
        return fresh(frames, error);
    size_t index = random_word(frames) % frames->frees;
    struct frame *frame = frames->free[index];
    frames->free[index] = frames->free[--frames->frees];
    return frame;
}

struct frame *frame_new(struct frames *frames, uint32_t backing, uint64_t page, struct grants *grants, int *error)
{
    struct frame *frame = pick(frames, error);
    if (frame) {
        frame->state = FRAME_LIVE;
        frame->backing = backing;
        frame->page = page;
        frame->grants = grants ? grants : &frame->own;
    }
    return frame;
}

void frame_retire(struct frames *frames, struct frame *frame)
{
    frame->state = FRAME_QUARANTINED;
    frame->grants = NULL;
    grants_clear(&frame->own);
    frames->quarantine[frames->quarantined++] = frame;
}

uint64_t frame_pa(const struct frames *frames, const struct frame *frame)
{
    return frames->base + (frame->number << FRAME_SHIFT);
}

/* ---- for Python ---------------------------------------------------------------------------------------------- */

void frames_count(struct frames *frames, struct frames_counts *counts)
{
    pthread_mutex_lock(&frames->lock);
    *counts = (struct frames_counts){frames->known, frames->frees, frames->quarantined, frames->guard_violations,
                                     frames->stale_accesses};
    pthread_mutex_unlock(&frames->lock);
}

bool frames_look(struct frames *frames, uint64_t number, struct frame_view *view)
{
    pthread_mutex_lock(&frames->lock);
    struct frame *frame = find(frames, number);
    if (frame)
        *view = (struct frame_view){frame->state, frame->backing, frame->page,
                                    frame->grants ? frame->grants->count : 0};
    pthread_mutex_unlock(&frames->lock);
    return frame;
}

size_t frames_grants(struct frames *frames, uint64_t number, struct grant *out, size_t limit)
{
    pthread_mutex_lock(&frames->lock);
    struct frame *frame = find(frames, number);
    size_t count = frame && frame->grants ? frame->grants->count : 0;
    count = count < limit ? count : limit;
    if (count)
        memcpy(out, items_of(frame->grants), count * sizeof *out);
    pthread_mutex_unlock(&frames->lock);
    return count;
}

int64_t frames_allocate(struct frames *frames, uint32_t backing, uint64_t page)
{
    int error = 0;
    pthread_mutex_lock(&frames->lock);
    struct frame *frame = frame_new(frames, backing, page, NULL, &error);
    pthread_mutex_unlock(&frames->lock);
    return frame ? (int64_t)frame->number : error;
}

bool frames_grant(struct frames *frames, uint64_t number, struct grant grant)
{
    pthread_mutex_lock(&frames->lock);
    struct frame *frame = find(frames, number);
    bool good = frame && frame->grants == &frame->own && grants_add(&frame->own, grant);
    pthread_mutex_unlock(&frames->lock);
    return good;
}

bool frames_quarantine(struct frames *frames, uint64_t number)
{
    pthread_mutex_lock(&frames->lock);
    struct frame *frame = find(frames, number);
    bool live = frame && frame->state == FRAME_LIVE;
    if (live)
        frame_retire(frames, frame);
    pthread_mutex_unlock(&frames->lock);
    return live;
}

size_t frames_release(struct frames *frames)
{
    pthread_mutex_lock(&frames->lock);
    size_t count = frames->quarantined;
    for (size_t i = 0; i < count; i++) {
        frames->quarantine[i]->state = FRAME_FREE;
        frames->free[frames->frees++] = frames->quarantine[i];
    }
    frames->quarantined = 0;
    pthread_mutex_unlock(&frames->lock);
    return count;
}

/* ---- accesses ------------------------------------------------------------------------------------------------ */

static size_t piece(uint64_t pa, uint64_t left)
{
    uint64_t here = FRAME_BYTES - (pa & (FRAME_BYTES - 1));
    return (size_t)(here < left ? here : left);
}

/* The frame in which the bytes lie, if they may be touched. */
static struct frame *permitted(struct frames *frames, uint64_t pa, size_t nbytes, bool write)
{
    uint64_t first = pa & (FRAME_BYTES - 1), number = (pa - frames->base) >> FRAME_SHIFT;
    struct frame *frame = pa < frames->base ? NULL : find(frames, number);
    if (!frame)
        return NULL;
    if (frame->state != FRAME_LIVE) {
        frames->stale_accesses++;
        return NULL;
    }
    if (!allowed(frame->grants, (uint32_t)first, (uint32_t)(first + nbytes), write)) {
        frames->guard_violations++;
        return NULL;
    }
    return frame;
}

static void resolve(struct frames *frames, const uint64_t *pa, size_t count, uint64_t nbytes, bool write,
                    uint64_t *address, uint64_t *length, struct frames_found *found)
{
    bool one_backing = true;
    for (size_t i = 0; i < count; i++) {
        size_t here = piece(pa[i], nbytes);
        const struct frame *frame = permitted(frames, pa[i], here, write);
        if (!frame) {
            found->refused = i;
            return;
        }
        nbytes -= here;
        one_backing = one_backing && (!i || frame->backing == found->backing);
        if (!one_backing)
            continue; /* Its turn comes with another call; but it is looked at now, since all or nothing is touched. */
        found->backing = frame->backing;
        uint64_t at = (frame->page << FRAME_SHIFT) + (pa[i] & (FRAME_BYTES - 1));
        size_t last = found->pieces - 1;
        if (found->pieces && address[last] + length[last] == at) {
            length[last] += here;
        } else {
            address[found->pieces] = at;
            length[found->pieces++] = here;
        }
        found->pages = i + 1;
    }
}

void frames_resolve(struct frames *frames, const uint64_t *pa, size_t count, uint64_t nbytes, bool write,
                    uint64_t *address, uint64_t *length, struct frames_found *found)
{
    *found = (struct frames_found){.refused = count};
    pthread_mutex_lock(&frames->lock);
    resolve(frames, pa, count, nbytes, write, address, length, found);
    pthread_mutex_unlock(&frames->lock);
}
