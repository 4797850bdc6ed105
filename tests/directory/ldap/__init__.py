"""Tests of directory.ldap."""
