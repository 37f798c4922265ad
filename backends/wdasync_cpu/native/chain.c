/* A sequence: requests one after another, each on the output of the one before. No Python in here. */
#include <stdlib.h>

#include "codec.h"

bool only_looks(const struct request *step)
{
    return step->kind == KIND_CHECKSUM || step->kind == KIND_DIGEST;
}

/* True: it has ended well. */
static bool run_step(struct kit *kit, struct request *step)
{
    if (must_stop(step))
        fail_stopped(step);
    else
        run_request(kit, step);
    return step->status == STATUS_SUCCESS;
}

/* The last step that makes something may make it where the sequence's output may be. */
static void pass_on(const struct request *request)
{
    for (uint32_t i = request->chain->count; i--;) {
        struct request *step = &request->chain->steps[i];
        if (only_looks(step))
            continue;
        step->offer = request->offer;
        step->offered = request->offered;
        return;
    }
}

/* The step that made the output, or NULL; nobody needs what the ones before it made. */
static struct request *run_steps(struct kit *kit, struct chain *chain, const atomic_bool *stop)
{
    static const uint8_t nothing[1];
    const struct segment *input = chain->steps->segments;
    uint32_t segments = chain->steps->count;
    struct segment made;
    struct request *last = NULL;
    for (chain->done = 0; chain->done < chain->count; chain->done++) {
        struct request *step = &chain->steps[chain->done];
        step->segments = input;
        step->count = segments;
        step->stop = stop;
        if (!run_step(kit, step))
            break;
        if (only_looks(step))
            continue;
        made = (struct segment){step->out ? step->out : nothing, step->produced};
        input = &made;
        segments = 1;
        if (last)
            drop_output(last);
        last = step;
    }
    return last;
}

void run_chain(struct kit *kit, struct request *request)
{
    struct chain *chain = request->chain;
    pass_on(request);
    struct request *last = run_steps(kit, chain, request->stop);
    if (chain->done < chain->count) {
        const struct request *failed = &chain->steps[chain->done];
        fail(request, failed->status, failed->cause, "%s", failed->message);
        if (last)
            drop_output(last);
        return;
    }
    if (last) {
        request->out = last->out;
        request->produced = last->produced;
        last->out = NULL;
    }
    for (uint32_t i = 0; i < request->count; i++)
        request->consumed += request->segments[i].size;
}
