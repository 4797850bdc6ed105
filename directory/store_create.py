"""The local store, made: the file of a new realm, complete with its krbtgt account and groups."""

import os
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import NewAccount
from directory.model import KRBTGT_RID, AccountKind, PrincipalKey, Sid, match_key
from directory.sealing import MasterKey, sync_folder
from directory.store_devices import DEVICE_TABLES
from directory.store_groups import FIRST_OWN_RID, GROUP_TABLES, insert_well_known_groups
from directory.store_insert import Inserter
from directory.store_schema import (
    ACCOUNT_TABLES,
    NT_HASH_TABLE,
    READ_ONLY_DC_INDEX,
    SCHEMA_VERSION,
    VALUE_TABLES,
    create_file,
    secret_aad,
    unavailable,
)
from directory.store_values import MAPPING_TABLE


def random_domain_sid() -> Sid:
    """Make the SID of a new domain: S-1-5-21 and three random numbers."""
    return Sid(5, (21, *(secrets.randbits(32) for _ in range(3))))


def create_store(
    path: Path,
    master_key: MasterKey,
    *,
    realm: str,
    netbios: str,
    krbtgt_keys: Sequence[PrincipalKey],
    now: datetime,
    domain_sid: Sid | None = None,
) -> None:
    """Make the store of a new realm with its krbtgt account.

    The file appears under its name only when it is complete.
    Raises DirectoryError: EXISTS, DENIED, INVALID.
    """
    if path.exists():
        raise DirectoryError(DirectoryFault.EXISTS, f"{path} is already there")
    draft = path.with_name(f"{path.name}.new")
    for left_over in (draft, *(Path(f"{draft}{end}") for end in ("-wal", "-shm"))):
        left_over.unlink(missing_ok=True)
    domain = domain_sid or random_domain_sid()
    krbtgt = NewAccount(
        kind=AccountKind.KRBTGT,
        name="krbtgt",
        spns=tuple({match_key(n): f"krbtgt/{n}" for n in (netbios, realm)}.values()),
        created_at=now,
        keys=tuple(krbtgt_keys),
        sid=domain.with_rid(KRBTGT_RID),
    )
    connection = create_file(
        draft,
        ACCOUNT_TABLES
        + NT_HASH_TABLE
        + GROUP_TABLES
        + VALUE_TABLES
        + READ_ONLY_DC_INDEX
        + DEVICE_TABLES
        + MAPPING_TABLE,
    )
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO settings VALUES (?, ?)",
            (
                ("schema_version", SCHEMA_VERSION),
                ("realm", realm),
                ("netbios", netbios),
                ("domain_sid", str(domain)),
                ("next_rid", FIRST_OWN_RID),
            ),
        )
        connection.execute(
            "INSERT INTO secrets VALUES ('key check', ?)",
            (master_key.seal(secret_aad("key check"), secrets.token_bytes(16)),),
        )
        insert_well_known_groups(connection, domain)
        Inserter(connection, master_key, realm, domain).insert(krbtgt)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        # The last connection to close folds the log into the file and removes it.
        connection.close()
    os.rename(draft, path)
    sync_folder(path)
