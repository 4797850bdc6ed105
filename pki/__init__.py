"""Certificates, keys and DER. Knows nothing of Kerberos."""
