// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared virtual addressing without an IOMMU. Binding pins no page and walks no table: a device that runs in this
 * kernel borrows the address space by its PASID and copies. So a page that is absent comes in as by any fault, and a
 * wild address is an error, which is what an IOMMU with page faults gives.
 */
#include <linux/err.h>
#include <linux/idr.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "board.h"

#define FIRST_PASID 1
#define LAST_PASID 0xffff /* a queue's context has 16 bits for it */

struct bond {
	struct list_head list;
	struct device *dev;
	struct mm_struct *mm;
	u32 pasid;
	unsigned int users;
};

static LIST_HEAD(bonds);
static DEFINE_MUTEX(bonds_lock);
static DEFINE_IDA(pasids);

static int refuse_feature;
module_param(refuse_feature, int, 0644);
MODULE_PARM_DESC(refuse_feature, "error number for drivers that ask whether SVA is there; 0: it is");

static int refuse_bind;
module_param(refuse_bind, int, 0644);
MODULE_PARM_DESC(refuse_bind, "error number for each open of a device with SVA; 0: it works");

int board_enable_feature(struct device *dev, enum iommu_dev_features feature)
{
	return -refuse_feature;
}
EXPORT_SYMBOL_GPL(board_enable_feature);

int board_disable_feature(struct device *dev, enum iommu_dev_features feature)
{
	return 0;
}
EXPORT_SYMBOL_GPL(board_disable_feature);

static struct bond *find_bond(struct device *dev, struct mm_struct *mm)
{
	struct bond *bond;

	list_for_each_entry(bond, &bonds, list)
		if (bond->dev == dev && bond->mm == mm)
			return bond;
	return NULL;
}

/* Devices share the PASID of a process, as with a real IOMMU. */
static int pasid_of(struct mm_struct *mm)
{
	struct bond *bond;

	list_for_each_entry(bond, &bonds, list)
		if (bond->mm == mm)
			return bond->pasid;
	return ida_alloc_range(&pasids, FIRST_PASID, LAST_PASID, GFP_KERNEL);
}

static struct bond *new_bond(struct device *dev, struct mm_struct *mm)
{
	struct bond *bond = kzalloc(sizeof(*bond), GFP_KERNEL);
	int pasid;

	if (!bond)
		return ERR_PTR(-ENOMEM);
	pasid = pasid_of(mm);
	if (pasid < 0) {
		kfree(bond);
		return ERR_PTR(pasid);
	}
	bond->dev = dev;
	bond->mm = mm;
	bond->pasid = pasid;
	mmgrab(mm);
	list_add(&bond->list, &bonds);
	return bond;
}

struct iommu_sva *board_bind(struct device *dev, struct mm_struct *mm, void *unused)
{
	struct bond *bond;

	if (refuse_bind)
		return ERR_PTR(-refuse_bind);
	mutex_lock(&bonds_lock);
	bond = find_bond(dev, mm);
	if (!bond)
		bond = new_bond(dev, mm);
	if (!IS_ERR(bond))
		bond->users++;
	mutex_unlock(&bonds_lock);
	return (struct iommu_sva *)bond;
}
EXPORT_SYMBOL_GPL(board_bind);

static bool pasid_is_used(u32 pasid)
{
	struct bond *bond;

	list_for_each_entry(bond, &bonds, list)
		if (bond->pasid == pasid)
			return true;
	return false;
}

void board_unbind(struct iommu_sva *handle)
{
	struct bond *bond = (struct bond *)handle;

	mutex_lock(&bonds_lock);
	if (!--bond->users) {
		list_del(&bond->list);
		if (!pasid_is_used(bond->pasid))
			ida_free(&pasids, bond->pasid);
		mmdrop(bond->mm);
		kfree(bond);
	}
	mutex_unlock(&bonds_lock);
}
EXPORT_SYMBOL_GPL(board_unbind);

u32 board_pasid(struct iommu_sva *handle)
{
	return ((struct bond *)handle)->pasid;
}
EXPORT_SYMBOL_GPL(board_pasid);

struct mm_struct *board_space(u32 pasid)
{
	struct mm_struct *mm = NULL;
	struct bond *bond;

	mutex_lock(&bonds_lock);
	list_for_each_entry(bond, &bonds, list) {
		if (bond->pasid != pasid)
			continue;
		if (mmget_not_zero(bond->mm))
			mm = bond->mm;
		break;
	}
	mutex_unlock(&bonds_lock);
	return mm;
}
EXPORT_SYMBOL_GPL(board_space);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stand-in for an IOMMU and a bus, for tests of uacce in a guest");
