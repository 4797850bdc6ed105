"""Tests of the tenant's sign-in."""
