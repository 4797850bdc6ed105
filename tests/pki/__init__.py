"""Tests of pki: DER, keys, names, CMS, certificates."""
