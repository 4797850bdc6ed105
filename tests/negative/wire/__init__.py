"""A hostile Kerberos client that shares no code with the server it attacks.

Its DER, CMS, Kerberos cryptography and PKINIT are its own: what one codec gets wrong in both
directions, two codecs do not. It imports nothing of `pki`, `directory` or `kdc`; a test sees to it.
"""
