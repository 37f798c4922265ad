// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test tells a device to do wrong, and what it asks how often something happened: files in debugfs, in
 * wdasync_zip/NAME. All are numbers.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "zip.h"

static struct dentry *root;

/* Milliseconds: the device is reset, and back after so long; also when it is in reset already. */
static int reset_set(void *data, u64 value)
{
	struct zip_device *zip = data;

	atomic_inc(&zip->counters.resets);
	zip_device_halt(zip);
	mod_delayed_work(zip->works, &zip->back, msecs_to_jiffies(value));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(reset_fops, NULL, reset_set, "%llu\n");

/* 1: it is taken out of use; 0: it is whole again. */
static int isolate_set(void *data, u64 value)
{
	struct zip_device *zip = data;

	zip->isolated = !!value;
	if (value)
		zip_device_halt(zip);
	else
		zip_device_back(zip);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(isolate_fops, NULL, isolate_set, "%llu\n");

/* An interrupt for every queue, with nothing behind it. */
static int wake_set(void *data, u64 value)
{
	struct zip_device *zip = data;
	unsigned int number;

	mutex_lock(&zip->lock);
	for (number = 0; number < ZIP_MAX_QUEUES; number++)
		if (zip->queues[number] && READ_ONCE(zip->queues[number]->running))
			zip_queue_wake(zip->queues[number]);
	mutex_unlock(&zip->lock);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(wake_fops, NULL, wake_set, "%llu\n");

/* One line a queue: number, type, PASID, running, SQ head and tail, CQ head and tail, armed. */
static int queues_show(struct seq_file *file, void *unused)
{
	struct zip_device *zip = file->private;
	unsigned int number;

	mutex_lock(&zip->lock);
	for (number = 0; number < ZIP_MAX_QUEUES; number++) {
		struct zip_queue *queue = zip->queues[number];

		if (queue)
			seq_printf(file, "%u %u %u %d %u %u %u %u %d\n", number, queue->type, queue->pasid,
				   queue->running, queue->sq_head, queue->sq_tail, queue->cq_head, queue->cq_tail,
				   queue->armed);
	}
	mutex_unlock(&zip->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(queues);

void zip_faults_add(struct zip_device *zip)
{
	struct zip_faults *faults = &zip->faults;
	struct zip_counters *counters = &zip->counters;
	struct dentry *here = debugfs_create_dir(dev_name(&zip->uacce->dev), root);

	zip->debugfs = here;
	debugfs_create_atomic_t("drop", 0600, here, &faults->drop);
	debugfs_create_atomic_t("duplicate", 0600, here, &faults->duplicate);
	debugfs_create_atomic_t("lose_wake", 0600, here, &faults->lose_wake);
	debugfs_create_atomic_t("status", 0600, here, &faults->status);
	debugfs_create_u32("status_code", 0600, here, &faults->status_code);
	debugfs_create_u32("delay_us", 0600, here, &faults->delay_us);
	debugfs_create_u32("limit", 0600, here, &zip->limit);
	debugfs_create_file_unsafe("reset", 0200, here, zip, &reset_fops);
	debugfs_create_file_unsafe("isolate", 0200, here, zip, &isolate_fops);
	debugfs_create_file_unsafe("wake", 0200, here, zip, &wake_fops);
	debugfs_create_file("queues", 0400, here, zip, &queues_fops);

	debugfs_create_atomic_t("doorbells", 0400, here, &counters->doorbells);
	debugfs_create_atomic_t("bad_doorbells", 0400, here, &counters->bad_doorbells);
	debugfs_create_atomic_t("submitted", 0400, here, &counters->submitted);
	debugfs_create_atomic_t("completed", 0400, here, &counters->completed);
	debugfs_create_atomic_t("wakes", 0400, here, &counters->wakes);
	debugfs_create_atomic_t("overflows", 0400, here, &counters->overflows);
	debugfs_create_atomic_t("memory_errors", 0400, here, &counters->memory_errors);
	debugfs_create_atomic_t("resets", 0400, here, &counters->resets);
}

/* Waits for whoever is in one of the files. */
void zip_faults_remove(struct zip_device *zip)
{
	debugfs_remove(zip->debugfs);
}

void zip_faults_init(void)
{
	root = debugfs_create_dir("wdasync_zip", NULL);
}

void zip_faults_exit(void)
{
	debugfs_remove(root);
}
