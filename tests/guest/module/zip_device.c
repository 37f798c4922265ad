// SPDX-License-Identifier: GPL-2.0-only
/* The devices, and what uacce asks of their driver. */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/misc/uacce/hisi_qm.h>

#include "board.h"
#include "zip.h"

#define NAME "wdasync_zip"
#define MMIO_BYTES 8192
#define MAX_DEVICES 8

static unsigned int devices = 1;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "how many there are");

static unsigned int queues = 64;
module_param(queues, uint, 0444);
MODULE_PARM_DESC(queues, "hardware queues of each");

static ushort depth = 1024;
module_param(depth, ushort, 0444);
MODULE_PARM_DESC(depth, "entries of each ring");

static bool sva = true;
module_param(sva, bool, 0644);
MODULE_PARM_DESC(sva, "ask for shared virtual addresses");

static int node;
module_param(node, int, 0644);
MODULE_PARM_DESC(numa_node, "NUMA node where the devices sit; -1: nowhere");

static struct platform_device *parents[MAX_DEVICES];

/* ---- Opened queues ------------------------------------------------------------------------------------------------ */

/* Numbers go round, as the silicon's driver hands them out. Under the device's lock. */
static int free_number(struct zip_device *zip)
{
	u32 tried;

	if (zip->used >= min(zip->limit, (u32)ZIP_MAX_QUEUES))
		return -EBUSY;
	for (tried = 0; tried < zip->limit; tried++) {
		u32 number = (zip->next + tried) % zip->limit;

		if (!zip->queues[number]) {
			zip->next = number + 1;
			return number;
		}
	}
	return -EBUSY;
}

static int zip_get_queue(struct uacce_device *uacce, unsigned long pasid, struct uacce_queue *file)
{
	struct zip_device *zip = uacce->priv;
	struct zip_queue *queue;
	int number;

	mutex_lock(&zip->lock);
	number = zip->stopped ? -EPERM : free_number(zip);
	if (number < 0)
		goto out;
	file->uacce = uacce;
	queue = zip_queue_create(zip, file, number, depth);
	if (!queue) {
		number = -ENOMEM;
		goto out;
	}
	file->priv = queue;
	spin_lock(&zip->doorbells);
	zip->queues[number] = queue;
	spin_unlock(&zip->doorbells);
	zip->used++;
out:
	mutex_unlock(&zip->lock);
	return min(number, 0);
}

static void zip_put_queue(struct uacce_queue *file)
{
	struct zip_queue *queue = file->priv;
	struct zip_device *zip = queue->zip;

	board_untrap(file);
	mutex_lock(&zip->lock);
	spin_lock(&zip->doorbells);
	zip->queues[queue->number] = NULL;
	spin_unlock(&zip->doorbells);
	zip->used--;
	zip_queue_stop(queue);
	zip_queue_destroy(queue);
	mutex_unlock(&zip->lock);
}

static int zip_start_queue(struct uacce_queue *file)
{
	struct zip_queue *queue = file->priv;
	int error;

	mutex_lock(&queue->zip->lock);
	error = queue->zip->stopped ? -EPERM : zip_queue_start(queue);
	mutex_unlock(&queue->zip->lock);
	return error;
}

static void zip_stop_queue(struct uacce_queue *file)
{
	zip_queue_stop(file->priv);
}

static int zip_is_q_updated(struct uacce_queue *file)
{
	return zip_queue_updated(file->priv);
}

static int zip_mmap(struct uacce_queue *file, struct vm_area_struct *vma, struct uacce_qfile_region *region)
{
	struct zip_queue *queue = file->priv;
	size_t bytes = vma->vm_end - vma->vm_start;

	if (region->type == UACCE_QFRT_MMIO) {
		if (bytes > MMIO_BYTES)
			return -EINVAL;
		return board_trap(vma, file, zip_doorbell, queue->zip);
	}
	if (bytes != queue->dus_bytes)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start, virt_to_phys(queue->dus) >> PAGE_SHIFT, bytes, vma->vm_page_prot);
}

static long set_context(struct zip_queue *queue, void __user *argument)
{
	struct hisi_qp_ctx context;

	if (copy_from_user(&context, argument, sizeof(context)))
		return -EFAULT;
	if (context.qc_type > ZIP_DECOMPRESS)
		return -EINVAL;
	queue->type = context.qc_type;
	context.id = queue->number;
	return copy_to_user(argument, &context, sizeof(context)) ? -EFAULT : 0;
}

static long get_info(struct zip_queue *queue, void __user *argument)
{
	struct hisi_qp_info info = { ZIP_SQE_BYTES, queue->depth, queue->depth };

	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static long zip_ioctl(struct uacce_queue *file, unsigned int command, unsigned long argument)
{
	switch (command) {
	case UACCE_CMD_QM_SET_QP_CTX:
		return set_context(file->priv, (void __user *)argument);
	case UACCE_CMD_QM_SET_QP_INFO:
		return get_info(file->priv, (void __user *)argument);
	}
	return -EINVAL;
}

static int zip_available(struct uacce_device *uacce)
{
	struct zip_device *zip = uacce->priv;

	return max(0, (int)(zip->limit - zip->used));
}

static const struct uacce_ops zip_ops = {
	.get_available_instances = zip_available,
	.get_queue = zip_get_queue,
	.put_queue = zip_put_queue,
	.start_queue = zip_start_queue,
	.stop_queue = zip_stop_queue,
	.is_q_updated = zip_is_q_updated,
	.mmap = zip_mmap,
	.ioctl = zip_ioctl,
};

/* ---- Devices ------------------------------------------------------------------------------------------------------ */

/* All queues end, and none is given, until the device is back. Programs see it by the words at the end of the DUS. */
void zip_device_halt(struct zip_device *zip)
{
	unsigned int number;

	mutex_lock(&zip->lock);
	zip->stopped = true;
	for (number = 0; number < ZIP_MAX_QUEUES; number++)
		if (zip->queues[number])
			zip_queue_halt(zip->queues[number]);
	mutex_unlock(&zip->lock);
}

/* New queues work. Old ones stay as they are: they have to be opened anew. */
void zip_device_back(struct zip_device *zip)
{
	mutex_lock(&zip->lock);
	zip->stopped = zip->isolated;
	mutex_unlock(&zip->lock);
}

static void zip_reset_is_over(struct work_struct *work)
{
	zip_device_back(container_of(to_delayed_work(work), struct zip_device, back));
}

/* uacce learnt of isolation after this kernel. Its later attribute, made by the driver. */
static ssize_t isolate_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	struct uacce_device *uacce = container_of(dev, struct uacce_device, dev);
	struct zip_device *zip = uacce->priv;

	return sysfs_emit(text, "%d\n", zip->isolated);
}
static DEVICE_ATTR_RO(isolate);

static int add_uacce(struct zip_device *zip)
{
	struct uacce_interface interface = {
		.name = "hisi_zip",
		.flags = sva ? UACCE_DEV_SVA : 0,
		.ops = &zip_ops,
	};
	struct uacce_device *uacce = uacce_alloc(&zip->pdev->dev, &interface);
	int error;

	if (IS_ERR(uacce))
		return PTR_ERR(uacce);
	uacce->priv = zip;
	uacce->algs = "zlib\ngzip\n";
	uacce->api_ver = HISI_QM_API_VER2_BASE;
	uacce->qf_pg_num[UACCE_QFRT_MMIO] = MMIO_BYTES >> PAGE_SHIFT;
	uacce->qf_pg_num[UACCE_QFRT_DUS] = zip_dus_bytes(depth) >> PAGE_SHIFT;
	zip->uacce = uacce;
	error = uacce_register(uacce);
	if (!error)
		error = device_create_file(&uacce->dev, &dev_attr_isolate);
	if (error)
		uacce_remove(uacce);
	return error;
}

static int zip_probe(struct platform_device *pdev)
{
	struct zip_device *zip = kvzalloc(sizeof(*zip), GFP_KERNEL);
	int error = -ENOMEM;

	if (!zip)
		return error;
	zip->pdev = pdev;
	zip->limit = min(queues, (u32)ZIP_MAX_QUEUES);
	mutex_init(&zip->lock);
	spin_lock_init(&zip->doorbells);
	INIT_DELAYED_WORK(&zip->back, zip_reset_is_over);
	zip->works = alloc_workqueue("%s", WQ_UNBOUND, 0, dev_name(&pdev->dev));
	if (!zip->works)
		goto free;
	platform_set_drvdata(pdev, zip);
	error = add_uacce(zip);
	if (error)
		goto destroy;
	zip_faults_add(zip);
	return 0;
destroy:
	destroy_workqueue(zip->works);
free:
	kvfree(zip);
	return error;
}

static int zip_remove(struct platform_device *pdev)
{
	struct zip_device *zip = platform_get_drvdata(pdev);

	zip_faults_remove(zip);
	device_remove_file(&zip->uacce->dev, &dev_attr_isolate);
	uacce_remove(zip->uacce);
	cancel_delayed_work_sync(&zip->back);
	destroy_workqueue(zip->works);
	kvfree(zip);
	return 0;
}

static struct platform_driver zip_driver = {
	.probe = zip_probe,
	.remove = zip_remove,
	.driver = { .name = NAME },
};

static void remove_parents(void)
{
	unsigned int index;

	for (index = 0; index < MAX_DEVICES; index++)
		if (!IS_ERR_OR_NULL(parents[index]))
			platform_device_unregister(parents[index]);
}

static int add_parent(unsigned int index)
{
	struct platform_device *pdev = platform_device_alloc(NAME, index);
	int error;

	if (!pdev)
		return -ENOMEM;
	if (node >= 0)
		set_dev_node(&pdev->dev, node);
	error = platform_device_add(pdev);
	if (error)
		platform_device_put(pdev);
	else
		parents[index] = pdev;
	return error;
}

static int __init zip_init(void)
{
	unsigned int index;
	int error;

	if (devices > MAX_DEVICES || depth < 2)
		return -EINVAL;
	zip_faults_init();
	error = platform_driver_register(&zip_driver);
	for (index = 0; !error && index < devices; index++) {
		error = add_parent(index);
		if (error) {
			remove_parents();
			platform_driver_unregister(&zip_driver);
		}
	}
	if (error)
		zip_faults_exit();
	return error;
}

static void __exit zip_exit(void)
{
	remove_parents();
	platform_driver_unregister(&zip_driver);
	zip_faults_exit();
}

module_init(zip_init);
module_exit(zip_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("ZIP accelerator with the HiSilicon user ABI, done in software, for tests in a guest");
