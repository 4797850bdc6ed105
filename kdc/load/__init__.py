"""The load tester: a plan of work, requests made beforehand, a drive, and what was measured."""
