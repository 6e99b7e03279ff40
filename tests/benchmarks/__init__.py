"""Benchmarks: what the service does, each figure beside a limit measured in the same run.

Run them with `make bench` or `python -m tests.benchmarks [--quick] [--only NAME]`.
"""
