"""The whole schema: each table module's SQL, in the order in which they refer to each other."""

from typing import Final

from tenant.state import (
    devices,
    keys,
    lockouts,
    nonces,
    prts,
    second_factors,
    sync,
    tokens,
    users,
)

SCHEMA: Final[tuple[str, ...]] = (
    users.SCHEMA,
    lockouts.SCHEMA,
    second_factors.SCHEMA,
    nonces.SCHEMA,
    tokens.SCHEMA,
    devices.SCHEMA,
    keys.SCHEMA,
    prts.SCHEMA,
    sync.SCHEMA,
)
"""SQL scripts; CREATE statements alone."""

SCHEMA_VERSION: Final = 1
"""Raised whenever a released schema changes."""
