"""A Kerberos client of bytes in, bytes out; only `transport` has sockets."""
