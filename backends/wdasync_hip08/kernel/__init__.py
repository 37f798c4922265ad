"""The part that the kernel plays: what Linux does between a program and the chip.

Address spaces and their page tables, the SMMU's driver, page faults of devices (io-pgfault), the queue manager's
driver, and the uacce files that a program opens. It works on the chip as a processor does: through registers,
through tables in RAM, and by interrupts.
"""
