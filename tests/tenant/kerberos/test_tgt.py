"""The members of a PRT's answer that carry TGTs."""

import json
import os
from dataclasses import replace
from uuid import UUID

import pytest

from kdc.client.partial_tgt import open_partial_tgt
from kdc.crypto.etypes import KeyUsage, decrypt
from kdc.formats.cloud_key import CloudKey
from kdc.formats.prt_file import decode_prt_file
from kdc.pac import parse_pac, verify_partial_pac
from kdc.wire.rfc4120 import EncTicketPart, Ticket
from pki import asn1
from tenant.kerberos import tgt
from tenant.prt.jwe import seal_answer
from tenant.prt.kdf import KdfVersion
from tenant.state.users import User
from tests.kdc.cloud_keys import CLOUD_KEY, DOMAIN_SID
from tests.kdc.tgs_builders import pac_of
from tests.rig.tenant import NOW

SESSION_KEY = bytes(range(32))
ALICE = User(
    object_id=UUID(int=1),
    upn="alice@corp.example",
    display_name="Alice",
    onprem_sid=str(DOMAIN_SID.with_rid(1107)),
    onprem_sam="alice",
)


def members(
    user: User = ALICE, key: CloudKey | None = CLOUD_KEY, version: KdfVersion = KdfVersion.V2
) -> dict[str, str]:
    """Ask for TGTs."""
    return tgt.tgt_members(
        key,
        user,
        lambda plain: seal_answer(plain, SESSION_KEY, version, os.urandom),
        now=NOW,
        entropy=os.urandom,
    )


@pytest.mark.parametrize("version", KdfVersion)
def test_tgt_ad_opens_with_the_session_key(version: KdfVersion) -> None:
    """A text of JSON: an AS-REP whose reply key is a JWE under the session key (trap 4)."""
    found = members(version=version)
    assert isinstance(found["tgt_ad"], str)
    inner = json.loads(found["tgt_ad"])
    assert (inner["keyType"], inner["sessionKeyType"], inner["error"]) == (18, 18, None)
    assert inner["clientKey"].count(".") == 4
    kept = {"session_key": SESSION_KEY.hex(), "tgt_ad": found["tgt_ad"]}
    delivered = decode_prt_file(json.dumps(kept).encode())
    credential = open_partial_tgt(delivered.message, delivered.client_key)
    assert (str(credential.client), str(credential.server)) == (
        "alice@LAB.TEST",
        "krbtgt/LAB.TEST@LAB.TEST",
    )
    sealed = asn1.decode(Ticket, credential.ticket).enc_part
    assert sealed.kvno == CLOUD_KEY.wire_kvno()
    part = asn1.decode(EncTicketPart, decrypt(CLOUD_KEY.key, KeyUsage.TICKET, sealed.cipher))
    pac = verify_partial_pac(parse_pac(pac_of(part)), key=CLOUD_KEY.key, number=CLOUD_KEY.number)
    assert pac.requestor == DOMAIN_SID.with_rid(1107)


def test_tgt_cloud_says_that_there_is_none() -> None:
    """And the names of the cloud's own realm are a text."""
    found = members()
    inner = json.loads(found["tgt_cloud"])
    assert (inner["keyType"], inner["error"]) == (0, tgt.NO_CLOUD_REALM)
    assert (inner["sessionKeyType"], inner["accountType"]) == (0, 0)
    assert found["kerberos_top_level_names"].startswith(".windows.net")


@pytest.mark.parametrize(
    ("user", "key", "error"),
    [
        (ALICE, None, tgt.NO_TRUST),
        (replace(ALICE, onprem_sid=None), CLOUD_KEY, tgt.NOT_SYNCED),
        (replace(ALICE, onprem_sam=None), CLOUD_KEY, tgt.NOT_SYNCED),
        (replace(ALICE, onprem_sam="a" * 257), CLOUD_KEY, tgt.NOT_SYNCED),
        (replace(ALICE, onprem_sid="S-1-5-21-9-9-9-1107"), CLOUD_KEY, tgt.OTHER_DOMAIN),
        (replace(ALICE, onprem_sid="no SID"), CLOUD_KEY, tgt.OTHER_DOMAIN),
    ],
)
def test_reason_stands_in_the_place_of_a_tgt(user: User, key: CloudKey | None, error: str) -> None:
    """Not a crash and not a missing member: numbers are there, texts are null."""
    inner = json.loads(members(user, key)["tgt_ad"])
    assert inner == json.loads(tgt.no_tgt(error))
    assert (inner["keyType"], inner["messageBuffer"], inner["clientKey"]) == (0, None, None)
