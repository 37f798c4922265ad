// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flat buffers, and chains of scatter lists: a head of 64 bytes (next list, and how many of its entries are valid),
 * then entries of 32 bytes (address, length). Errors: -EINVAL, the lists are not to be worked with; -EFAULT, memory.
 */
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "zip.h"

#define HEAD_BYTES 64
#define ENTRY_BYTES 32
#define MAX_LISTS 256
#define MAX_ENTRIES 255

static int add(struct zip_memory *memory, u64 address, u32 bytes)
{
	if (memory->count == memory->room) {
		size_t room = memory->room ? memory->room * 2 : 16;
		struct zip_range *ranges = kvmalloc_array(room, sizeof(*ranges), GFP_KERNEL);

		if (!ranges)
			return -ENOMEM;
		if (memory->count)
			memcpy(ranges, memory->ranges, memory->count * sizeof(*ranges));
		kvfree(memory->ranges);
		memory->ranges = ranges;
		memory->room = room;
	}
	memory->ranges[memory->count++] = (struct zip_range){ address, bytes };
	memory->total += bytes;
	return 0;
}

int zip_memory_flat(struct zip_memory *memory, u64 address)
{
	return add(memory, address, ZIP_MAX_BYTES);
}

static int fetch(void *to, u64 address, size_t bytes)
{
	return copy_from_user(to, u64_to_user_ptr(address), bytes) ? -EFAULT : 0;
}

static int add_entries(struct zip_memory *memory, u64 address, unsigned int count)
{
	unsigned int index;
	int error;

	for (index = 0; index < count; index++) {
		struct {
			__le64 address, control;
			__le32 bytes, padding;
			__le64 software;
		} entry;

		error = fetch(&entry, address + index * ENTRY_BYTES, sizeof(entry));
		if (error)
			return error;
		if (le32_to_cpu(entry.bytes) > ZIP_MAX_BYTES)
			return -EINVAL;
		error = add(memory, le64_to_cpu(entry.address), le32_to_cpu(entry.bytes));
		if (error)
			return error;
	}
	return 0;
}

/* Goes forward over bytes that are neither read nor written. */
static void skip_bytes(struct zip_memory *memory, u32 bytes)
{
	while (bytes && memory->index < memory->count) {
		u32 here = min(bytes, memory->ranges[memory->index].bytes - memory->offset);

		memory->offset += here;
		memory->total -= here;
		bytes -= here;
		if (memory->offset == memory->ranges[memory->index].bytes) {
			memory->index++;
			memory->offset = 0;
		}
	}
}

int zip_memory_scattered(struct zip_memory *memory, u64 address, u32 skip)
{
	unsigned int lists;
	int error;

	for (lists = 0; lists < MAX_LISTS; lists++) {
		struct {
			__le64 next;
			__le16 total, valid, capacity, reserved;
		} head;

		error = fetch(&head, address, sizeof(head));
		if (error)
			return error;
		if (le16_to_cpu(head.valid) > MAX_ENTRIES)
			return -EINVAL;
		error = add_entries(memory, address + HEAD_BYTES, le16_to_cpu(head.valid));
		if (error)
			return error;
		address = le64_to_cpu(head.next);
		if (!address) {
			skip_bytes(memory, skip);
			return 0;
		}
	}
	return -EINVAL;
}

static int move(struct zip_memory *memory, void *buffer, size_t bytes, bool write)
{
	while (bytes) {
		struct zip_range *range;
		void __user *at;
		size_t here;

		if (memory->index == memory->count)
			return -EINVAL;
		range = &memory->ranges[memory->index];
		here = min_t(size_t, bytes, range->bytes - memory->offset);
		at = u64_to_user_ptr(range->address + memory->offset);
		if (here && (write ? copy_to_user(at, buffer, here) : copy_from_user(buffer, at, here)))
			return -EFAULT;
		buffer += here;
		bytes -= here;
		memory->offset += here;
		if (memory->offset == range->bytes) {
			memory->index++;
			memory->offset = 0;
		}
	}
	return 0;
}

int zip_memory_read(struct zip_memory *memory, void *to, size_t bytes)
{
	return move(memory, to, bytes, false);
}

int zip_memory_write(struct zip_memory *memory, const void *from, size_t bytes)
{
	return move(memory, (void *)from, bytes, true);
}

void zip_memory_free(struct zip_memory *memory)
{
	kvfree(memory->ranges);
	memset(memory, 0, sizeof(*memory));
}
