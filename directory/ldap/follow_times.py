"""Following an OpenLDAP without a stream of changes: its newest entries, and comparisons."""

import logging
import time

from directory.ldap import filters
from directory.ldap.attributes import attributes_of, entries_filter
from directory.ldap.follow import Work
from directory.ldap.load import records_of

log = logging.getLogger(__name__)

COMPARE_EVERY_S = 60.0
"""Nothing tells of deletions but a comparison."""


def follow_times(work: Work) -> None:
    """Poll. Raises DirectoryError when the server is lost."""
    session = work.session
    flavour = session.facts.flavour
    log.warning("directory: %s pushes no changes (no syncprov): polling", session.url)
    work.load(lambda _: None)
    newest = max((version for version, _ in work.writer.versions().values()), default="")
    compared_at = time.monotonic()
    while not work.between.stop():
        conditions = [entries_filter(flavour)]
        if newest:
            conditions.append(filters.at_least("entryCSN", newest))
        pages = session.connection.pages(
            session.base, filters.all_of(*conditions), attributes_of(flavour)
        )
        for page in pages:
            records = records_of(page, session.facts)
            versions = [getattr(record, "version", "") for record in records]
            newest = max((newest, *versions))
            work.write(records, {})
        if time.monotonic() - compared_at > (work.between.compare_interval_s or COMPARE_EVERY_S):
            work.load(lambda _: None)
            compared_at = time.monotonic()
        work.board.confirm()
        work.wait(work.between.poll_interval_s)
