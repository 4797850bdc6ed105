"""What the processes of the server share in anonymous memory."""

from kdc.server.counters import CounterTable
from kdc.server.reply_budget import ReplyBudgetTable
from kdc.server.sources import SourceTable


class SharedTables:
    """Made by the supervisor, before the first fork."""

    def __init__(self, workers: int) -> None:
        self.counters = CounterTable(workers)
        self.sources = SourceTable(workers)
        self.reply_budget = ReplyBudgetTable()
