"""Tests of the sync job."""
