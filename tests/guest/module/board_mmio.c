// SPDX-License-Identifier: GPL-2.0-only
/*
 * Doorbells. A region that is ordinary memory can only be looked at now and then, and of two doorbells that share an
 * address a device would see the second. Here no page is ever behind the mapping: each access faults, the
 * instruction is decoded, the store is handed over, and the program goes on behind it. So each store arrives once and
 * in order, and the program has waited for it, as for a bus.
 *
 * Known are the instructions with which compilers store or load one integer: mov, movzx, movsx, xchg, movnti.
 */
#include <linux/module.h>
#include <linux/sched/task_stack.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "board.h"

#define LONGEST_INSTRUCTION 15

struct trap {
	board_store_t store;
	void *context;
};

/* By key. Calls are made under its lock, so that none is under way when a trap has been taken away. */
static DEFINE_XARRAY_FLAGS(traps, XA_FLAGS_LOCK_IRQ);

struct access {
	bool store, load;
	unsigned int size, length;
	unsigned int clears; /* bytes of the register that a load changes */
	unsigned long *reg; /* where a value comes from, or goes to; NULL: it is in the instruction */
	u64 value;
};

static unsigned long *register_of(struct pt_regs *regs, unsigned int number)
{
	unsigned long *table[] = {
		&regs->ax, &regs->cx, &regs->dx, &regs->bx, &regs->sp, &regs->bp, &regs->si, &regs->di,
		&regs->r8, &regs->r9, &regs->r10, &regs->r11, &regs->r12, &regs->r13, &regs->r14, &regs->r15,
	};

	return table[number & 15];
}

/* Bytes of ModRM, SIB and displacement; 0: the operand is no memory. */
static unsigned int operand_length(const u8 *code)
{
	unsigned int mod = code[0] >> 6, rm = code[0] & 7, length = 1;

	if (mod == 3)
		return 0;
	if (rm == 4) {
		length++;
		if (mod == 0 && (code[1] & 7) == 5)
			length += 4;
	} else if (mod == 0 && rm == 5) {
		length += 4;
	}
	return length + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static s64 immediate(const u8 *code, unsigned int size)
{
	if (size == 1)
		return *(const s8 *)code;
	if (size == 2)
		return *(const s16 *)code;
	return *(const s32 *)code; /* sign-extended to eight bytes */
}

/* Opcodes of two bytes; @at is where the second one is. */
static int decode_extended(const u8 *code, unsigned int at, unsigned int rex, unsigned int size,
			   struct pt_regs *regs, struct access *access)
{
	u8 opcode = code[at++];
	unsigned int operand = operand_length(code + at);

	switch (opcode) {
	case 0xb6: /* movzx, movsx: the register is larger than the access */
	case 0xbe:
		access->load = true;
		access->size = 1;
		access->clears = size;
		break;
	case 0xb7:
	case 0xbf:
		access->load = true;
		access->size = 2;
		access->clears = size;
		break;
	case 0xc3: /* movnti */
		access->store = true;
		access->size = size;
		break;
	default:
		return -EINVAL;
	}
	access->reg = register_of(regs, (code[at] >> 3 & 7) | (rex & 4 ? 8 : 0));
	access->length = at + operand;
	return operand ? 0 : -EINVAL;
}

/* Returns 0 if the instruction is a known one. @code has LONGEST_INSTRUCTION bytes, and zeros behind. */
static int decode(const u8 *code, struct pt_regs *regs, struct access *access)
{
	unsigned int at = 0, size = 4, rex = 0, operand;
	bool byte = false, constant = false;

	for (; at < 4; at++) {
		u8 prefix = code[at];

		if (prefix == 0x66)
			size = 2;
		else if (prefix != 0x2e && prefix != 0x3e && prefix != 0x26 && prefix != 0x36 &&
			 prefix != 0x64 && prefix != 0x65 && prefix != 0xf0)
			break;
	}
	if ((code[at] & 0xf0) == 0x40)
		rex = code[at++];
	if (rex & 8)
		size = 8;

	switch (code[at++]) {
	case 0x88:
		byte = true;
		fallthrough;
	case 0x89:
		access->store = true;
		break;
	case 0x8a:
		byte = true;
		fallthrough;
	case 0x8b:
		access->load = true;
		break;
	case 0x86:
		byte = true;
		fallthrough;
	case 0x87:
		access->store = access->load = true;
		break;
	case 0xc6:
		byte = true;
		fallthrough;
	case 0xc7:
		access->store = constant = true;
		break;
	case 0x0f:
		return decode_extended(code, at, rex, size, regs, access);
	default:
		return -EINVAL;
	}
	if (byte) {
		/* Without REX, numbers 4 to 7 are the second bytes of other registers. */
		if (!constant && !rex && (code[at] >> 3 & 7) >= 4)
			return -EINVAL;
		size = 1;
	}

	operand = operand_length(code + at);
	if (!operand || (constant && code[at] >> 3 & 7))
		return -EINVAL;
	if (constant)
		access->value = immediate(code + at + operand, size);
	else
		access->reg = register_of(regs, (code[at] >> 3 & 7) | (rex & 4 ? 8 : 0));
	access->size = access->clears = size;
	access->length = at + operand + (constant ? min(size, 4u) : 0);
	return 0;
}

/* What the program was about to do; returns 0 if it is known. */
static int fetch(struct pt_regs *regs, struct access *access)
{
	u8 code[LONGEST_INSTRUCTION + 9] = {};
	const u8 __user *from = (const u8 __user *)regs->ip;
	size_t straight = min_t(size_t, PAGE_SIZE - offset_in_page(regs->ip), LONGEST_INSTRUCTION);

	/* A page of code that went away meanwhile: the program tries again, and brings it in. */
	if (copy_from_user_nofault(code, from, straight))
		return -EAGAIN;
	if (straight < LONGEST_INSTRUCTION &&
	    copy_from_user_nofault(code + straight, from + straight, LONGEST_INSTRUCTION - straight))
		memset(code + straight, 0, LONGEST_INSTRUCTION - straight);
	return decode(code, regs, access);
}

static bool deliver(void *key, unsigned long offset, u64 value, unsigned int size)
{
	unsigned long flags;
	struct trap *trap;

	xa_lock_irqsave(&traps, flags);
	trap = xa_load(&traps, (unsigned long)key >> 3);
	if (trap && size)
		trap->store(trap->context, offset, value, size);
	xa_unlock_irqrestore(&traps, flags);
	return trap;
}

static vm_fault_t trapped(struct vm_fault *vmf)
{
	struct pt_regs *regs = task_pt_regs(current);
	unsigned long offset = vmf->address - vmf->vma->vm_start;
	struct access access = {};
	u64 value;
	int error;

	/* The kernel itself (a read() into the doorbell, say) has no business here. */
	if (!(vmf->flags & FAULT_FLAG_USER))
		return VM_FAULT_SIGBUS;
	error = fetch(regs, &access);
	if (error == -EAGAIN)
		return VM_FAULT_NOPAGE;
	if (error || offset % access.size) {
		pr_warn_ratelimited("unknown access to a doorbell at ip %lx\n", regs->ip);
		return VM_FAULT_SIGBUS;
	}
	value = access.reg ? *access.reg : access.value;
	if (access.size < 8)
		value &= (1ULL << access.size * 8) - 1;
	if (!deliver(vmf->vma->vm_private_data, offset, value, access.store ? access.size : 0))
		return VM_FAULT_SIGBUS;
	if (access.load) {
		/* Registers read as 0. A load of four bytes clears the upper half of the register too. */
		u64 kept = access.clears < 4 ? ~0ULL << access.clears * 8 : 0;

		*access.reg &= kept;
	}
	regs->ip += access.length;
	return VM_FAULT_NOPAGE;
}

/* One for all mappings: they all come from uacce, whose operations are the same for each. (It may be loaded anew,
 * but not while there is a mapping.) */
static struct vm_operations_struct trap_ops;
static const struct vm_operations_struct *trap_origin;
static DEFINE_MUTEX(trap_lock);

int board_trap(struct vm_area_struct *vma, void *key, board_store_t store, void *context)
{
	struct trap *trap = kzalloc(sizeof(*trap), GFP_KERNEL);
	int error;

	if (!trap)
		return -ENOMEM;
	trap->store = store;
	trap->context = context;

	mutex_lock(&trap_lock);
	if (trap_origin != vma->vm_ops) {
		trap_ops = *vma->vm_ops;
		trap_ops.fault = trapped;
		trap_origin = vma->vm_ops;
	}
	mutex_unlock(&trap_lock);
	error = xa_insert_irq(&traps, (unsigned long)key >> 3, trap, GFP_KERNEL);
	if (error) {
		kfree(trap);
		return error;
	}
	vma->vm_flags |= VM_IO | VM_PFNMAP | VM_DONTDUMP;
	vma->vm_ops = &trap_ops;
	return 0;
}
EXPORT_SYMBOL_GPL(board_trap);

void board_untrap(void *key)
{
	kfree(xa_erase_irq(&traps, (unsigned long)key >> 3));
}
EXPORT_SYMBOL_GPL(board_untrap);
