"""The engines: `process` (full CPython, confined by the kernel) and `monty` (a Python subset, opt-in)."""
