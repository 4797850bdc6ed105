"""The Kerberos protocol: a pure core and a ring of I/O."""
