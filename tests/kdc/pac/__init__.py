"""Tests of the PAC."""
