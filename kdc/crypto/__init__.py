"""Encryption, checksums, key derivation and key agreement of Kerberos and PKINIT."""
