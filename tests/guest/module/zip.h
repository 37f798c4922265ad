/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A ZIP accelerator as the HiSilicon user ABI shows it, done by this kernel's own zlib. Offsets and bits are written
 * down from what is known of the hardware, and shared with nothing that is tested against it.
 */
#ifndef WDASYNC_ZIP_H
#define WDASYNC_ZIP_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/uacce.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#define ZIP_SQE_WORDS 32
#define ZIP_SQE_BYTES (ZIP_SQE_WORDS * 4)
#define ZIP_MAX_BYTES (8u << 20)
#define ZIP_MAX_QUEUES 1024

enum zip_type { ZIP_COMPRESS, ZIP_DECOMPRESS };

/* Bits 7:0 of word 3. The lower ones have no number in the silicon's documents: they are the emulated chip's. */
enum zip_status {
	ZIP_OK = 0x00,
	ZIP_BAD_DATA = 0x01,
	ZIP_BAD_DESCRIPTOR = 0x02,
	ZIP_MEMORY = 0x03,
	ZIP_EXPANDED = 0x0d,
	ZIP_NO_SPACE = 0x0e,
	ZIP_BAD_CHECK = 0x10,
};

struct zip_cqe {
	__le32 reserved0;
	__le16 command;
	__le16 reserved1;
	__le16 sq_head;
	__le16 sq_number;
	__le16 reserved2;
	__le16 phase;
};

/* How a test makes it misbehave; each count is of the next ones. */
struct zip_faults {
	atomic_t drop; /* completions that never come */
	atomic_t duplicate; /* completions that come twice */
	atomic_t lose_wake; /* interrupts that are not raised */
	atomic_t status; /* entries that end with status_code, no work being done */
	u32 status_code;
	u32 delay_us; /* for each entry */
};

struct zip_counters {
	atomic_t doorbells, bad_doorbells, submitted, completed, wakes, overflows, memory_errors, resets;
};

struct zip_device {
	struct platform_device *pdev;
	struct uacce_device *uacce;
	struct workqueue_struct *works;
	struct mutex lock; /* opening, closing, reset */
	spinlock_t doorbells; /* which queue a number is: taken by each doorbell */
	struct zip_queue *queues[ZIP_MAX_QUEUES];
	u32 limit, used, next;
	bool stopped; /* in reset, or isolated: no new queues */
	bool isolated;
	struct delayed_work back;
	struct zip_faults faults;
	struct zip_counters counters;
	struct dentry *debugfs;
};

struct zip_queue {
	struct zip_device *zip;
	struct uacce_queue *file;
	u16 number, type, depth;
	u32 pasid;
	void *dus;
	size_t dus_bytes;
	u8 *sq;
	struct zip_cqe *cq;

	/* The device's own state, as a chip has it in the queue's contexts. */
	spinlock_t lock;
	u16 sq_head, sq_tail, cq_head, cq_tail;
	bool phase, armed, running;

	/* The kernel driver's: how far poll() has looked. */
	u16 seen_head;
	bool seen_phase;

	struct work_struct work;
	wait_queue_head_t stop;
	struct zip_engine *engine;
};

/* zip_queue.c */
struct zip_queue *zip_queue_create(struct zip_device *zip, struct uacce_queue *file, u16 number, u16 depth);
void zip_queue_destroy(struct zip_queue *queue);
size_t zip_dus_bytes(u16 depth);
int zip_queue_start(struct zip_queue *queue);
void zip_queue_stop(struct zip_queue *queue);
void zip_queue_halt(struct zip_queue *queue);
void zip_queue_wake(struct zip_queue *queue);
int zip_queue_updated(struct zip_queue *queue);
void zip_doorbell(void *context, unsigned long offset, u64 value, unsigned int size);

/* zip_engine.c: one entry; the words that belong to the engine are filled in. */
struct zip_engine *zip_engine_create(void);
void zip_engine_destroy(struct zip_engine *engine);
void zip_engine_run(struct zip_engine *engine, u32 *words, enum zip_type type);

/* zip_memory.c: what addresses in a descriptor name, in the address space that this thread has borrowed. */
struct zip_range {
	u64 address;
	u32 bytes;
};

struct zip_memory {
	struct zip_range *ranges;
	size_t count, room;
	u64 total;
	size_t index; /* where reading or writing goes on */
	u32 offset;
};

int zip_memory_flat(struct zip_memory *memory, u64 address);
int zip_memory_scattered(struct zip_memory *memory, u64 address, u32 skip);
int zip_memory_read(struct zip_memory *memory, void *to, size_t bytes);
int zip_memory_write(struct zip_memory *memory, const void *from, size_t bytes);
void zip_memory_free(struct zip_memory *memory);

/* zip_device.c */
void zip_device_halt(struct zip_device *zip);
void zip_device_back(struct zip_device *zip);

/* zip_faults.c */
void zip_faults_init(void);
void zip_faults_exit(void);
void zip_faults_add(struct zip_device *zip);
void zip_faults_remove(struct zip_device *zip);

#endif
