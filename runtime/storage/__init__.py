"""Storage: one SQLite file, one connection, one thread, and units of work that run in one hop each."""
