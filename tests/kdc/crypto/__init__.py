"""Tests of kdc.crypto."""
