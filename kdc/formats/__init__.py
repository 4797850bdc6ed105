"""File formats that other Kerberos programs read."""
