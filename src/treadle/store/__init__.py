"""The log: append-only turns, chained by checksum, behind one small protocol."""
