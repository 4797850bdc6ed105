"""Tests of the companion that fetches revocation data."""
