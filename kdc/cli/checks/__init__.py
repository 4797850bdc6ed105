"""The checks of `kdc doctor`, by subject: generators of findings that change nothing.

Only `logons` writes: the account it logs on as, which it deletes again.
"""
