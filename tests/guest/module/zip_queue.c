// SPDX-License-Identifier: GPL-2.0-only
/*
 * A queue pair, both sides of it: the chip, which fetches entries up to the tail that a doorbell told, works them off in
 * order and posts completions with a phase; and the kernel's driver, whose poll() eats what it finds.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "board.h"
#include "zip.h"

#define DOORBELL 0x1000
#define DOORBELL_SQ 0
#define DOORBELL_CQ 1
#define ARM 1

#define SEND_STOPPED 1 /* words from the end of the region */
#define RECEIVE_STOPPED 2

#define DRAIN_MS 200 /* as the silicon's driver: 1,000 looks, 0.2 ms apart at most */
#define BATCH 64

/* Both rings rounded up to a page, and one page whose end has the status words. */
size_t zip_dus_bytes(u16 depth)
{
	return PAGE_ALIGN((size_t)depth * (ZIP_SQE_BYTES + sizeof(struct zip_cqe))) + PAGE_SIZE;
}

static void tell_stopped(struct zip_queue *queue, unsigned int word)
{
	u32 *end = queue->dus + queue->dus_bytes;

	WRITE_ONCE(end[-(int)word], 1);
}

/* ---- The chip ------------------------------------------------------------------------------------------------- */

/* One that is due: counts down. */
static bool due(atomic_t *count)
{
	return atomic_dec_if_positive(count) >= 0;
}

static bool fetch(struct zip_queue *queue, u16 *slot, u32 *words)
{
	bool found;

	spin_lock(&queue->lock);
	found = queue->running && queue->sq_head != queue->sq_tail;
	if (found) {
		*slot = queue->sq_head;
		queue->sq_head = (*slot + 1) % queue->depth;
	}
	spin_unlock(&queue->lock);
	if (found)
		memcpy(words, queue->sq + *slot * ZIP_SQE_BYTES, ZIP_SQE_BYTES);
	return found;
}

/* The completion ring is full when its tail would meet the head: the silicon stops such a queue. */
static bool post(struct zip_queue *queue, u16 slot)
{
	struct zip_cqe *cqe = &queue->cq[queue->cq_tail];
	u16 next = (queue->cq_tail + 1) % queue->depth;

	if (next == queue->cq_head) {
		atomic_inc(&queue->zip->counters.overflows);
		queue->running = false;
		return false;
	}
	cqe->sq_head = cpu_to_le16(slot);
	cqe->sq_number = cpu_to_le16(queue->number);
	/* Everything before it must be there for who sees the phase. */
	smp_store_release(&cqe->phase, cpu_to_le16(queue->phase));
	queue->cq_tail = next;
	if (!next)
		queue->phase = !queue->phase;
	return true;
}

/* The words of an entry that are the engine's; all others stay as the host wrote them. */
static void write_back(struct zip_queue *queue, u16 slot, const u32 *words)
{
	u32 *entry = (u32 *)(queue->sq + slot * ZIP_SQE_BYTES);

	memcpy(entry, words, 4 * sizeof(u32));
	entry[15] = words[15];
	memcpy(entry + 28, words + 28, 4 * sizeof(u32));
}

static void complete_entry(struct zip_queue *queue, u16 slot, const u32 *words)
{
	struct zip_device *zip = queue->zip;
	bool wake = false;

	if (due(&zip->faults.drop))
		return;
	spin_lock(&queue->lock);
	if (queue->running) {
		write_back(queue, slot, words);
		wake = post(queue, slot);
		if (wake && due(&zip->faults.duplicate))
			post(queue, slot);
		wake = wake && queue->armed;
		if (wake)
			queue->armed = false;
	}
	spin_unlock(&queue->lock);
	atomic_inc(&zip->counters.completed);
	if (wake && !due(&zip->faults.lose_wake))
		zip_queue_wake(queue);
}

static void work_on(struct zip_queue *queue, u32 *words)
{
	struct zip_faults *faults = &queue->zip->faults;

	if (faults->delay_us)
		wait_event_timeout(queue->stop, !READ_ONCE(queue->running), usecs_to_jiffies(faults->delay_us));
	if (due(&faults->status)) {
		memset(words, 0, 4 * sizeof(u32));
		words[3] = faults->status_code;
		return;
	}
	zip_engine_run(queue->engine, words, queue->type);
	if ((words[3] & 0xff) == ZIP_MEMORY)
		atomic_inc(&queue->zip->counters.memory_errors);
}

/* Everything up to the tail, in the address space that the queue's PASID names. */
static void zip_work(struct work_struct *work)
{
	struct zip_queue *queue = container_of(work, struct zip_queue, work);
	struct mm_struct *mm = queue->pasid ? board_space(queue->pasid) : NULL;
	u32 words[ZIP_SQE_WORDS];
	unsigned int count;
	u16 slot;

	/* Without one, every address is wild: a kernel thread has no user memory. */
	if (mm)
		kthread_use_mm(mm);
	for (count = 0; count < BATCH && fetch(queue, &slot, words); count++) {
		if (mm) {
			work_on(queue, words);
		} else {
			memset(words, 0, 4 * sizeof(u32));
			words[3] = ZIP_MEMORY;
			atomic_inc(&queue->zip->counters.memory_errors);
		}
		complete_entry(queue, slot, words);
		cond_resched();
	}
	if (mm) {
		kthread_unuse_mm(mm);
		mmput(mm);
	}
	if (count == BATCH)
		queue_work(queue->zip->works, &queue->work);
}

static void ring(struct zip_queue *queue, unsigned int command, u16 index, u16 priority)
{
	spin_lock(&queue->lock);
	if (command == DOORBELL_SQ) {
		atomic_add((index + queue->depth - queue->sq_tail) % queue->depth, &queue->zip->counters.submitted);
		queue->sq_tail = index;
	} else {
		queue->cq_head = index;
		if (priority & ARM)
			queue->armed = true;
	}
	spin_unlock(&queue->lock);
	if (command == DOORBELL_SQ)
		queue_work(queue->zip->works, &queue->work);
}

/* All queues of a device share the page: the number in the value says which one is meant. */
void zip_doorbell(void *context, unsigned long offset, u64 value, unsigned int size)
{
	struct zip_device *zip = context;
	unsigned int number = value & 0x3ff, command = value >> 12 & 0xf;
	u16 tag = value >> 16, index = value >> 32, priority = value >> 48;
	struct zip_queue *queue;
	bool good;

	spin_lock(&zip->doorbells);
	queue = zip->queues[number];
	good = queue && READ_ONCE(queue->running) && size == 8 && offset == DOORBELL && !tag && index < queue->depth &&
	       (command == DOORBELL_SQ || command == DOORBELL_CQ) && !(value >> 10 & 3);
	if (good)
		ring(queue, command, index, priority);
	spin_unlock(&zip->doorbells);
	atomic_inc(good ? &zip->counters.doorbells : &zip->counters.bad_doorbells);
}

/* The device stops where it is: what is in flight is lost. */
void zip_queue_halt(struct zip_queue *queue)
{
	tell_stopped(queue, SEND_STOPPED);
	spin_lock(&queue->lock);
	WRITE_ONCE(queue->running, false);
	spin_unlock(&queue->lock);
	wake_up_all(&queue->stop);
	flush_work(&queue->work);
	tell_stopped(queue, RECEIVE_STOPPED);
}

/* ---- The kernel's driver ------------------------------------------------------------------------------------------ */

struct zip_queue *zip_queue_create(struct zip_device *zip, struct uacce_queue *file, u16 number, u16 depth)
{
	struct zip_queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL);

	if (!queue)
		return NULL;
	queue->zip = zip;
	queue->file = file;
	queue->number = number;
	queue->depth = depth;
	queue->pasid = file->pasid;
	queue->dus_bytes = zip_dus_bytes(depth);
	queue->dus = alloc_pages_exact(queue->dus_bytes, GFP_KERNEL | __GFP_ZERO);
	queue->engine = zip_engine_create();
	if (!queue->dus || !queue->engine) {
		zip_queue_destroy(queue);
		return NULL;
	}
	queue->sq = queue->dus;
	queue->cq = queue->dus + (size_t)depth * ZIP_SQE_BYTES;
	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->stop);
	INIT_WORK(&queue->work, zip_work);
	return queue;
}

void zip_queue_destroy(struct zip_queue *queue)
{
	if (queue->dus)
		free_pages_exact(queue->dus, queue->dus_bytes);
	zip_engine_destroy(queue->engine);
	kfree(queue);
}

/* Contexts as new: both rings from their first slot, first lap, an interrupt for the first completion. */
int zip_queue_start(struct zip_queue *queue)
{
	spin_lock(&queue->lock);
	queue->sq_head = queue->sq_tail = queue->cq_head = queue->cq_tail = 0;
	queue->phase = queue->armed = true;
	queue->seen_head = 0;
	queue->seen_phase = true;
	WRITE_ONCE(queue->running, true);
	spin_unlock(&queue->lock);
	return 0;
}

static bool drained(struct zip_queue *queue)
{
	bool empty;

	spin_lock(&queue->lock);
	empty = queue->sq_head == queue->sq_tail;
	spin_unlock(&queue->lock);
	return !READ_ONCE(queue->running) || (empty && !work_busy(&queue->work));
}

/* What was submitted is finished first, if that does not take too long. */
void zip_queue_stop(struct zip_queue *queue)
{
	unsigned long end = jiffies + msecs_to_jiffies(DRAIN_MS);

	while (!drained(queue) && time_before(jiffies, end))
		usleep_range(100, 200);
	spin_lock(&queue->lock);
	WRITE_ONCE(queue->running, false);
	spin_unlock(&queue->lock);
	wake_up_all(&queue->stop);
	cancel_work_sync(&queue->work);
}

void zip_queue_wake(struct zip_queue *queue)
{
	atomic_inc(&queue->zip->counters.wakes);
	wake_up_interruptible(&queue->file->wait);
}

/* Asked by poll(): says so once for all completions that came since it was asked last, and forgets them. */
int zip_queue_updated(struct zip_queue *queue)
{
	int updated = 0;

	while (le16_to_cpu(smp_load_acquire(&queue->cq[queue->seen_head].phase)) % 2 == queue->seen_phase) {
		queue->seen_head = (queue->seen_head + 1) % queue->depth;
		if (!queue->seen_head)
			queue->seen_phase = !queue->seen_phase;
		updated = 1;
	}
	return updated;
}
