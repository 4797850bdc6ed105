"""Tests of the key registration and of attestations."""
