"""Tests of what stages the source for mypyc. `scripts/test-compiled` tests the result."""
