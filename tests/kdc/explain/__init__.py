"""Tests of kdc.explain and its command."""
