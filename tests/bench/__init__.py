"""Measurements of a running server: overload, hostile requests, killed workers, long runs.

Each is a script: `python -m tests.bench.overload --help`. None is part of the test suite, because
what they say depends on the machine and on what else it does.
"""
