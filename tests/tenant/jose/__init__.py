"""Tests of strict JSON and JWS."""
