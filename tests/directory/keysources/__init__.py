"""Tests of where the long-term keys of an LDAP realm come from."""
