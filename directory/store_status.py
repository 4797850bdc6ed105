"""What a process without the master key may know of the local store: that it can be read, and how
many accounts there are.
"""

import sqlite3
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault

_WAIT_S = 1.0


def count_accounts(path: Path) -> dict[str, int]:
    """Return how many accounts of each kind a store has. Raises DirectoryError."""
    try:
        # Not by the store's own class, which wants the key of the secrets.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S
        )
        try:
            rows = connection.execute("SELECT kind, count(*) FROM accounts GROUP BY kind")
            return {str(kind): int(count) for kind, count in rows}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DirectoryError(DirectoryFault.UNAVAILABLE, f"cannot read {path.name}") from error
