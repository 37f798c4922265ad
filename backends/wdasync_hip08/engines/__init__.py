"""The engines behind the queue manager: each works on the entries of its own descriptor format."""
