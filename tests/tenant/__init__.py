"""Tests of the lab tenant."""
