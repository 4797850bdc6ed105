"""The whole schema: each table module's SQL, in the order in which they refer to each other."""

from typing import Final

SCHEMA: Final[tuple[str, ...]] = ()
"""SQL scripts; CREATE statements alone."""

SCHEMA_VERSION: Final = 1
"""Raised whenever a released schema changes."""
