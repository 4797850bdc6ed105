"""Realms whose accounts live in an LDAP directory: Samba, Active Directory, OpenLDAP.

The directory is the source of truth. One process, the follower, copies what decisions read into
the local store; workers read the store alone and never wait for the directory, but for an account
or key that the store does not have (`misses.py`).

Why an LDAP client of our own (`ber.py`, `messages.py`, `connection.py`): every operation must end
by a deadline and within a number of octets, whatever the server sends, and a change stream must be
read without a thread and an unbounded queue behind it. ldap3 bounds single reads, not operations,
holds whole results and decodes each value twice; it judges ours in the tests.
"""
