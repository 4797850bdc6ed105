"""Tests of the device registration."""
