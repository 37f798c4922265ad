#include "walk.h"

#include <string.h>

/* As in smmu/permissions.py. (Arm DDI 0487, D8.3 and D8.4.) */
enum { READ = 1, WRITE_BIT = 2, FETCH = 4, PRIVILEGED = 3, WRITE = WRITE_BIT | WRITE_BIT << PRIVILEGED };

#define BIT(n) (UINT64_C(1) << (n))
#define AP_USER BIT(6)
#define AP_READ_ONLY BIT(7)
#define AF BIT(10)
#define NG BIT(11)
#define DBM BIT(51)
#define PXN BIT(53)
#define UXN BIT(54)
#define PXN_TABLE BIT(59)
#define UXN_TABLE BIT(60)
#define AP_TABLE_NO_USER BIT(61)
#define AP_TABLE_READ_ONLY BIT(62)
#define INHERITED (PXN_TABLE | UXN_TABLE | AP_TABLE_NO_USER | AP_TABLE_READ_ONLY)
#define ADDRESS (BIT(48) - 1)

static unsigned low_bit(unsigned granule, unsigned level)
{
    return granule + (3 - level) * (granule - 3);
}

/* Whether a leaf may be at this level: pages at level 3, blocks above. */
static bool leaf_level(unsigned granule, unsigned level)
{
    return level == 3 || level == 2 || (level == 1 && granule == 12);
}

static uint32_t permissions_of(uint64_t leaf, uint64_t inherited, const struct walk_regime *regime)
{
    bool writable = !(leaf & AP_READ_ONLY) || (regime->hardware_dirty && leaf & DBM);
    writable = writable && !(inherited & AP_TABLE_READ_ONLY);
    bool user = leaf & AP_USER && !(inherited & AP_TABLE_NO_USER), user_write = user && writable;
    uint32_t mask = (user ? READ : 0) | (user_write ? WRITE_BIT : 0);
    if (!(leaf & UXN || inherited & UXN_TABLE || (regime->wxn && user_write)))
        mask |= FETCH;
    if (!(regime->pan && user))
        mask |= READ << PRIVILEGED | (writable ? WRITE_BIT << PRIVILEGED : 0);
    if (!(leaf & PXN || inherited & PXN_TABLE || user_write || (regime->wxn && writable)))
        mask |= FETCH << PRIVILEGED;
    return mask;
}

static bool fetch(const struct walk_memory *memory, uint64_t pa, uint64_t *descriptor)
{
    if (pa & 7 || pa < memory->base || pa - memory->base >= memory->size)
        return false;
    *descriptor = __atomic_load_n((const uint64_t *)(memory->host + (pa - memory->base)), __ATOMIC_ACQUIRE);
    return true;
}

/* From the leaf to what the TLB keeps. False: it has to be marked, or the access is refused. */
static bool conclude(const struct walk_regime *regime, uint64_t va, bool write, uint64_t leaf, uint64_t inherited,
                     unsigned level, struct tlb_entry *entry)
{
    if (!(leaf & AF) && (regime->hardware_access || !regime->ignore_access))
        return false;
    uint32_t granted = permissions_of(leaf, regime->hierarchical ? inherited : 0, regime);
    if (!(granted & (write ? WRITE_BIT : READ)) || (write && leaf & AP_READ_ONLY))
        return false;
    unsigned shift = low_bit(regime->granule, level);
    bool global = !(leaf & NG);
    *entry = (struct tlb_entry){
        .tag = global ? regime->global_tag : regime->tag,
        .address = va >> shift << shift,
        .pa = (leaf & ADDRESS) >> shift << shift,
        .permissions = leaf & AP_READ_ONLY ? granted & ~(uint32_t)WRITE : granted,
        .shift = (uint8_t)shift,
        .granule = regime->granule,
        .level = (uint8_t)level,
        .shared = global || regime->tag == regime->global_tag,
    };
    return true;
}

bool walk_one(const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va, bool write,
              struct tlb_entry *entry, uint64_t *fetched, unsigned *fetches)
{
    unsigned granule = regime->granule, top = low_bit(granule, regime->start);
    uint64_t table = regime->base, inherited = 0, index_mask = BIT(regime->input_bits - top) - 1, descriptor;
    *fetches = 0;
    for (unsigned level = regime->start; level < WALK_LEVELS; level++) {
        unsigned low = low_bit(granule, level);
        uint64_t pa = table + (va >> low & index_mask) * 8;
        if (!fetch(memory, pa, &descriptor))
            return false;
        fetched[(*fetches)++] = pa;
        unsigned kind = descriptor & 3;
        bool leaf = kind == (level == 3 ? 3 : 1) && leaf_level(granule, level);
        if (!leaf && (kind != 3 || level == 3))
            return false;
        uint64_t output = (descriptor & ADDRESS) >> (leaf ? low : granule) << (leaf ? low : granule);
        if (output >> regime->output_bits)
            return false;
        if (leaf)
            return conclude(regime, va, write, descriptor, inherited, level, entry);
        table = output;
        inherited |= descriptor & INHERITED;
        index_mask = BIT(granule - 3) - 1;
    }
    return false;
}

/* One page: from the TLB, or by a walk. */
static bool translate(struct tlb *tlb, const struct walk_memory *memory, const struct walk_regime *regime,
                      uint64_t va, bool write, uint64_t *pa, struct walk_counts *counts)
{
    const struct tlb_entry *cached = tlb_look(tlb, regime->tag, regime->global_tag, va);
    if (cached && cached->permissions & (write ? WRITE_BIT : READ)) {
        counts->hits++;
        *pa = cached->pa + (va - cached->address);
        return true;
    }
    struct tlb_entry entry;
    uint64_t fetched[WALK_LEVELS];
    unsigned fetches;
    if (!regime->walks || !walk_one(memory, regime, va, write, &entry, fetched, &fetches))
        return false;
    counts->walks++;
    counts->fetches += fetches;
    counts->evictions += tlb_put(tlb, &entry);
    *pa = entry.pa + (va - entry.address);
    return true;
}

size_t walk_pages(struct tlb *tlb, const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va,
                  uint64_t nbytes, bool write, uint64_t *pa, size_t limit, struct walk_counts *counts)
{
    size_t done = 0;
    memset(counts, 0, sizeof *counts);
    pthread_mutex_lock(&tlb->lock);
    while (nbytes && done < limit && va < regime->limit && translate(tlb, memory, regime, va, write, &pa[done], counts)) {
        uint64_t here = WALK_PAGE - va % WALK_PAGE;
        here = here < nbytes ? here : nbytes;
        va += here;
        nbytes -= here;
        done++;
    }
    pthread_mutex_unlock(&tlb->lock);
    counts->pages = done;
    return done;
}
