"""What the processes of the server share: anonymous memory, the way from HTTP to workers, and
that from workers to who fetches revocation data.
"""

from datetime import UTC, datetime

from kdc.server.counters import CounterTable
from kdc.server.leaves import leaf_pair
from kdc.server.relay import relay_pair
from kdc.server.reply_budget import ReplyBudgetTable
from kdc.server.sources import SourceTable


class SharedTables:
    """Made by the supervisor, before the first fork."""

    def __init__(self, workers: int) -> None:
        self.counters = CounterTable(workers)
        self.sources = SourceTable(workers + 1)
        """A row for each worker, and the last one for the HTTP process."""
        self.workers = workers
        self.started_at = datetime.now(UTC)
        self.reply_budget = ReplyBudgetTable()
        self.relay_http, self.relay_workers = relay_pair()
        self.leaves_read, self.leaves_told = leaf_pair()
