/* SPDX-License-Identifier: GPL-2.0-only */
/* Included ahead of the kernel's uacce.c: it asks the IOMMU's core for shared addresses, and gets the board's. */
#ifndef WDASYNC_SHIM_H
#define WDASYNC_SHIM_H

#include "board.h"

#define iommu_dev_enable_feature board_enable_feature
#define iommu_dev_disable_feature board_disable_feature
#define iommu_sva_bind_device board_bind
#define iommu_sva_unbind_device board_unbind
#define iommu_sva_get_pasid board_pasid

#endif
