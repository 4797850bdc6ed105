"""Tests of the tenant's tables."""
