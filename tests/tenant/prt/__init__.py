"""Tests of primary refresh tokens."""
