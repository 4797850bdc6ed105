"""The whole schema: each table module's SQL, in the order in which they refer to each other."""

from typing import Final

from tenant.state import devices, keys, sync, users

SCHEMA: Final[tuple[str, ...]] = (users.SCHEMA, devices.SCHEMA, keys.SCHEMA, sync.SCHEMA)
"""SQL scripts; CREATE statements alone."""

SCHEMA_VERSION: Final = 1
"""Raised whenever a released schema changes."""
