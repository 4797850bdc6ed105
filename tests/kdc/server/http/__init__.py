"""Tests of the HTTP process."""
