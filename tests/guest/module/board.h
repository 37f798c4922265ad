/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a machine has round an accelerator, and a guest without hardware has not: an IOMMU that shares address
 * spaces, and a bus on which a store to a doorbell reaches the device.
 */
#ifndef WDASYNC_BOARD_H
#define WDASYNC_BOARD_H

#include <linux/iommu.h>
#include <linux/mm.h>

/* The IOMMU's part. A PASID belongs to an address space and a device, and is counted. */

int board_enable_feature(struct device *dev, enum iommu_dev_features feature);
int board_disable_feature(struct device *dev, enum iommu_dev_features feature);
struct iommu_sva *board_bind(struct device *dev, struct mm_struct *mm, void *unused);
void board_unbind(struct iommu_sva *handle);
u32 board_pasid(struct iommu_sva *handle);

/* The address space behind a PASID, to be given back by mmput(); NULL if its process is gone. */
struct mm_struct *board_space(u32 pasid);

/* The bus's part: accesses of user space to a region without memory become calls, one each, in order. */

typedef void (*board_store_t)(void *context, unsigned long offset, u64 value, unsigned int size);

/*
 * Make a mapping trap. @key tells mappings apart, and is what its vm_private_data is. The operations that the
 * mapping has stay.
 */
int board_trap(struct vm_area_struct *vma, void *key, board_store_t store, void *context);

/* No further call; a later access is SIGBUS. Not from within a call. */
void board_untrap(void *key);

#endif
