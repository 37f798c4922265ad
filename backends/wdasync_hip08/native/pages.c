#include "pages.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 256 };

static struct page **bucket_of(const struct pages *pages, uint64_t vpn)
{
    return &pages->buckets[(vpn * 0x9E3779B97F4A7C15u >> 32) & pages->mask];
}

static struct page *find(const struct pages *pages, uint64_t vpn)
{
    struct page *page = *bucket_of(pages, vpn);
    while (page && page->vpn != vpn)
        page = page->chain;
    return page;
}

struct pages *pages_new(struct frames *frames)
{
    struct pages *pages = calloc(1, sizeof *pages);
    if (!pages || !(pages->buckets = calloc(FIRST_BUCKETS, sizeof *pages->buckets))) {
        free(pages);
        return NULL;
    }
    frames_keep(frames);
    pages->frames = frames;
    pages->mask = FIRST_BUCKETS - 1;
    return pages;
}

static void lock(struct pages *pages)
{
    pthread_mutex_lock(&pages->frames->lock);
}

static void unlock(struct pages *pages)
{
    pthread_mutex_unlock(&pages->frames->lock);
}

void pages_free(struct pages *pages)
{
    if (!pages)
        return;
    lock(pages);
    for (size_t i = 0; i <= pages->mask; i++)
        for (struct page *page = pages->buckets[i], *next; page; page = next) {
            next = page->chain;
            if (page->frame)
                frame_retire(pages->frames, page->frame);
            grants_clear(&page->grants);
            free(page);
        }
    unlock(pages);
    frames_free(pages->frames);
    free(pages->buckets);
    free(pages);
}

/* ---- the table of pages -------------------------------------------------------------------------------------- */

static void spread(struct pages *pages)
{
    size_t olds = pages->mask + 1;
    struct page **old = pages->buckets, **buckets = calloc(olds * 2, sizeof *buckets);
    if (!buckets)
        return; /* Chains get longer, and nothing else. */
    pages->buckets = buckets;
    pages->mask = olds * 2 - 1;
    for (size_t i = 0; i < olds; i++)
        for (struct page *page = old[i], *next; page; page = next) {
            next = page->chain;
            struct page **bucket = bucket_of(pages, page->vpn);
            page->chain = *bucket;
            *bucket = page;
        }
    free(old);
}

static struct page *find_or_make(struct pages *pages, uint64_t vpn)
{
    struct page *page = find(pages, vpn);
    if (page || !(page = calloc(1, sizeof *page)))
        return page;
    if (pages->count > pages->mask)
        spread(pages);
    struct page **bucket = bucket_of(pages, vpn);
    page->vpn = vpn;
    page->chain = *bucket;
    *bucket = page;
    pages->count++;
    return page;
}

static void forget(struct pages *pages, struct page *page)
{
    struct page **link = bucket_of(pages, page->vpn);
    while (*link != page)
        link = &(*link)->chain;
    *link = page->chain;
    pages->count--;
    grants_clear(&page->grants);
    free(page);
}

/* Its last grant has gone. */
static void retire(struct pages *pages, struct page *page)
{
    pages->granted--;
    if (!page->idle) {
        page->idle = true;
        page->next_idle = pages->idle;
        pages->idle = page;
    }
}

static bool grants_write(const struct page *page)
{
    const struct grant *items = page->grants.items ? page->grants.items : &page->grants.one;
    for (uint32_t i = 0; i < page->grants.count; i++)
        if (items[i].writable)
            return true;
    return false;
}

/* ---- looking ------------------------------------------------------------------------------------------------- */

void pages_count(struct pages *pages, struct pages_counts *counts)
{
    lock(pages);
    *counts = (struct pages_counts){pages->count, pages->mapped, pages->granted};
    unlock(pages);
}

bool pages_look(struct pages *pages, uint64_t vpn, struct page_view *view)
{
    lock(pages);
    const struct page *page = find(pages, vpn);
    if (page)
        *view = (struct page_view){page->frame ? (int64_t)page->frame->number : -1, page->grants.count,
                                   page->writable, grants_write(page)};
    unlock(pages);
    return page;
}

size_t pages_grants(struct pages *pages, uint64_t vpn, struct grant *out, size_t limit)
{
    lock(pages);
    struct page *page = find(pages, vpn);
    size_t count = page ? page->grants.count : 0;
    count = count < limit ? count : limit;
    if (count)
        memcpy(out, page->grants.items ? page->grants.items : &page->grants.one, count * sizeof *out);
    unlock(pages);
    return count;
}

size_t pages_list(struct pages *pages, uint64_t first, uint64_t end, uint64_t *vpns, size_t limit)
{
    size_t count = 0;
    lock(pages);
    for (size_t i = 0; i <= pages->mask; i++)
        for (struct page *page = pages->buckets[i]; page && count < limit; page = page->chain)
            if (first <= page->vpn && page->vpn < end)
                vpns[count++] = page->vpn;
    unlock(pages);
    return count;
}

/* ---- grants -------------------------------------------------------------------------------------------------- */

/* What a byte range is in its page number `vpn`. */
static struct grant part_of(uint64_t address, uint64_t nbytes, uint64_t vpn, bool writable)
{
    uint64_t begin = vpn << FRAME_SHIFT, end = address + nbytes;
    return (struct grant){
        .first = (uint32_t)(address > begin ? address - begin : 0),
        .end = (uint32_t)(end - begin < FRAME_BYTES ? end - begin : FRAME_BYTES),
        .writable = writable,
    };
}

static uint64_t last_page(uint64_t address, uint64_t nbytes)
{
    return (address + nbytes - 1) >> FRAME_SHIFT;
}

static void take_back(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable, uint64_t end)
{
    for (uint64_t vpn = address >> FRAME_SHIFT; vpn < end; vpn++) {
        struct page *page = find(pages, vpn);
        grants_remove(&page->grants, part_of(address, nbytes, vpn, writable));
        if (!page->grants.count)
            retire(pages, page);
    }
}

int64_t pages_grant(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable, uint64_t *upgraded,
                    size_t limit, bool *complete)
{
    int64_t count = 0;
    *complete = true;
    lock(pages);
    for (uint64_t vpn = address >> FRAME_SHIFT; vpn <= last_page(address, nbytes); vpn++) {
        struct page *page = find_or_make(pages, vpn);
        if (!page || !grants_add(&page->grants, part_of(address, nbytes, vpn, writable))) {
            if (page && !page->grants.count && !page->frame && !page->idle)
                forget(pages, page);
            take_back(pages, address, nbytes, writable, vpn);
            count = -1;
            break;
        }
        pages->granted += page->grants.count == 1;
        *complete = *complete && page->frame;
        if (writable && page->frame && !page->writable && (size_t)count++ < limit)
            upgraded[count - 1] = vpn;
    }
    unlock(pages);
    return count;
}

bool pages_revoke(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable)
{
    bool good = nbytes;
    lock(pages);
    for (uint64_t vpn = address >> FRAME_SHIFT; good && vpn <= last_page(address, nbytes); vpn++) {
        const struct page *page = find(pages, vpn);
        good = page && grants_have(&page->grants, part_of(address, nbytes, vpn, writable));
    }
    if (good)
        take_back(pages, address, nbytes, writable, last_page(address, nbytes) + 1);
    unlock(pages);
    return good;
}

void pages_revoke_all(struct pages *pages, uint64_t first, uint64_t end)
{
    lock(pages);
    for (size_t i = 0; i <= pages->mask; i++)
        for (struct page *page = pages->buckets[i]; page; page = page->chain)
            if (page->grants.count && first <= page->vpn && page->vpn < end) {
                page->grants.count = 0;
                retire(pages, page);
            }
    unlock(pages);
}

/* ---- frames -------------------------------------------------------------------------------------------------- */

static void store(uint64_t *entry, uint64_t descriptor)
{
    __atomic_store_n(entry, descriptor, __ATOMIC_SEQ_CST);
}

static void describe(struct pages *pages, struct page *page, const struct leaf_bits *bits)
{
    store(page->entry, frame_pa(pages->frames, page->frame) | (page->writable ? bits->writable : bits->read_only));
}

int64_t pages_map(struct pages *pages, uint64_t vpn, size_t count, const uint8_t *wanted, uint32_t backing,
                  uint64_t number, bool writable, uintptr_t entries, const struct leaf_bits *bits)
{
    int64_t done = 0;
    int error = 0;
    lock(pages);
    for (size_t i = 0; i < count && !error; i++) {
        struct page *page = wanted[i] ? find(pages, vpn + i) : NULL;
        if (!page || page->frame || !page->grants.count)
            continue;
        page->frame = frame_new(pages->frames, backing, number + i, &page->grants, &error);
        if (!page->frame)
            break;
        page->writable = writable && grants_write(page);
        page->entry = (uint64_t *)entries + i;
        describe(pages, page, bits);
        pages->mapped++;
        done++;
    }
    unlock(pages);
    return error ? error : done;
}

bool pages_make_writable(struct pages *pages, uint64_t vpn, const struct leaf_bits *bits)
{
    lock(pages);
    struct page *page = find(pages, vpn);
    bool good = page && page->frame;
    if (good) {
        page->writable = true;
        describe(pages, page, bits);
    }
    unlock(pages);
    return good;
}

/* Whether it had a frame. A page that is in the list of idle ones stays until it is taken from there. */
static bool take(struct pages *pages, struct page *page)
{
    bool mapped = page->frame;
    if (mapped) {
        store(page->entry, 0);
        frame_retire(pages->frames, page->frame);
        page->frame = NULL;
        page->entry = NULL;
        page->writable = false;
        pages->mapped--;
    }
    if (!page->grants.count && !page->idle)
        forget(pages, page);
    return mapped;
}

size_t pages_take(struct pages *pages, const uint64_t *vpns, size_t count, uint64_t *mapped)
{
    size_t done = 0;
    lock(pages);
    for (size_t i = 0; i < count; i++) {
        struct page *page = find(pages, vpns[i]);
        if (page && take(pages, page))
            mapped[done++] = vpns[i];
    }
    unlock(pages);
    return done;
}

size_t pages_take_idle(struct pages *pages, uint64_t *mapped, size_t limit)
{
    size_t done = 0;
    lock(pages);
    while (pages->idle && done < limit) {
        struct page *page = pages->idle;
        uint64_t vpn = page->vpn;
        pages->idle = page->next_idle;
        page->idle = false;
        if (!page->grants.count && take(pages, page))
            mapped[done++] = vpn;
    }
    unlock(pages);
    return done;
}

bool pages_have_idle(struct pages *pages)
{
    lock(pages);
    bool some = pages->idle;
    unlock(pages);
    return some;
}
