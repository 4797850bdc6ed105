"""Tests of the AS exchange, stage by stage."""
