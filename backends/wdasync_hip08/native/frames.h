/* Frames: which page of which backing is at a physical address, and who may touch what of it. What a frame is, and its
   states, is said in frames.py. */
#ifndef WDASYNC_HIP08_FRAMES_H
#define WDASYNC_HIP08_FRAMES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_SHIFT = 12, FRAME_BYTES = 1 << FRAME_SHIFT };

/* Values of frames.FrameState. */
enum frame_state { FRAME_FREE, FRAME_LIVE, FRAME_QUARANTINED };

/* Bytes [first, end) of a page. */
struct grant {
    uint32_t first, end;
    bool writable;
};

struct grants {
    struct grant *items;
    uint32_t count, room;
    struct grant one; /* most pages have one */
};

struct frame {
    uint64_t number, page;   /* its own, and that of the page in the backing */
    uint32_t backing;        /* the number that Python gave it */
    enum frame_state state;
    struct grants *grants;   /* of the page that it stands for; LIVE only */
    struct grants own;       /* where it stands for no page of a space */
    struct frame *chain;     /* in its bucket */
};

/* Others than the owner may look at it, and at the spaces of it, while it is in use; so everything takes its lock. */
struct frames {
    pthread_mutex_t lock;
    uint64_t base, random;
    unsigned bits, users; /* users: itself, and the spaces that have frames of it */
    struct frame **buckets, **free, **quarantine;
    size_t mask, known, frees, quarantined;
    size_t room; /* of `free` and of `quarantine`: each has one for every frame */
    uint64_t guard_violations, stale_accesses;
};

struct frames_counts {
    uint64_t known, free, quarantined, guard_violations, stale_accesses;
};

struct frame_view {
    enum frame_state state;
    uint32_t backing;
    uint64_t page, grants;
};

struct frames *frames_new(uint64_t base, unsigned bits, uint64_t seed); /* NULL: no memory */
void frames_free(struct frames *frames); /* once no space uses it either */
void frames_keep(struct frames *frames);
void frames_count(struct frames *frames, struct frames_counts *counts);
bool frames_look(struct frames *frames, uint64_t number, struct frame_view *view); /* false: never handed out */
size_t frames_grants(struct frames *frames, uint64_t number, struct grant *out, size_t limit);

/* A frame for a page that is in no space. Its number, -1: all are in use, -2: no memory. */
int64_t frames_allocate(struct frames *frames, uint32_t backing, uint64_t page);
bool frames_grant(struct frames *frames, uint64_t number, struct grant grant); /* of such a frame */
bool frames_quarantine(struct frames *frames, uint64_t number);                /* false: it is not LIVE */
size_t frames_release(struct frames *frames);                                  /* QUARANTINED to FREE; how many */

/* What an access to pages meets. The bytes are `nbytes`, from the first address to the end of its page, then whole
   pages. `refused`: number of the first page that is none, or whose bytes are not granted; `count` if there is none.
   Else the first pages, `pages` of them, have one backing, `backing`, and their bytes are there at `pieces` pairs of
   `address` and `length`: neighbours are joined. */
struct frames_found {
    size_t refused, pages, pieces;
    uint32_t backing;
};

void frames_resolve(struct frames *frames, const uint64_t *pa, size_t count, uint64_t nbytes, bool write,
                    uint64_t *address, uint64_t *length, struct frames_found *found);

/* For pages.c, which has the lock. */
struct frame *frame_new(struct frames *frames, uint32_t backing, uint64_t page, struct grants *grants, int *error);
void frame_retire(struct frames *frames, struct frame *frame);
uint64_t frame_pa(const struct frames *frames, const struct frame *frame);
bool grants_add(struct grants *grants, struct grant grant); /* false: no memory */
bool grants_remove(struct grants *grants, struct grant grant);
bool grants_have(const struct grants *grants, struct grant grant);
void grants_clear(struct grants *grants);

#endif
