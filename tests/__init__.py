"""Tests of Keytrust: they mirror the packages; `rig` drives real clients and servers."""
