"""The queue manager (QM v2): queues in memory, doorbells in, completions and interrupts out."""
