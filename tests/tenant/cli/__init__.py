"""Tests of the command `tenant`."""
