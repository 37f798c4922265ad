"""Memory work, digests, ciphers and public keys on the CPU: a table, and what the libraries do for it."""
