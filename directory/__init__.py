"""Accounts and their keys. Knows nothing of tickets."""
