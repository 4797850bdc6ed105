"""Hybrid join at the handlers: the proof by the synced userCertificate, and each refusal (R3)."""

import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509

from tenant.state import devices
from tenant.state.devices import JoinType
from tests.tenant.registration import (
    COMPUTER,
    COMPUTER_SID,
    Lab,
    body_of,
    fill_disk,
    hybrid_body,
    join_body,
    make_lab,
    numbers,
    refusal,
    synced_computer,
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = make_lab(tmp_path)
    synced_computer(made)
    return made


def test_a_synced_computer_joins_with_its_key(lab: Lab) -> None:
    """Seed R3 F to H: the device object is updated, not made."""
    reply = lab.hybrid(hybrid_body(lab, "one"))
    assert reply.status == 200
    body = body_of(reply)
    certificate = x509.load_der_x509_certificate(base64.b64decode(body["Certificate"]["RawBody"]))
    assert certificate.subject.rfc4514_string() == f"CN={COMPUTER}"
    assert body["User"] == {"Upn": "DESKTOP-one$@lab.test"}
    device = lab.device("one")
    assert device is not None
    assert (device.device_id, device.object_id) == (COMPUTER, UUID(int=0xC0))
    assert device.join_type is JoinType.HYBRID
    assert device.owner is None
    assert device.transport_key == numbers("one").spki_der()
    assert device.sid == COMPUTER_SID
    assert device.user_certificate is not None


def test_the_certificate_names_the_computer_where_a_join_names_the_user(lab: Lab) -> None:
    """The example in MS-DVRJ 4.1: .2 and .3 hold the same GUID, and the join type is 1."""
    assert lab.hybrid(hybrid_body(lab, "one")).status == 200
    device = lab.device("one")
    assert device is not None
    certificate = device.certificate or b""
    assert certificate.count(b"\x04\x81\x10" + COMPUTER.bytes_le) == 2
    assert b"\x04\x81\x011" in certificate


def test_a_computer_that_was_not_synced_is_refused(tmp_path: Path) -> None:
    """Seed R3 D: it cannot join until its object is there, with the certificate."""
    lab = make_lab(tmp_path)
    wanted = (400, "DirectoryError", "no device of the sync")
    assert refusal(lab.hybrid(hybrid_body(lab, "one"))) == wanted
    synced_computer(lab, user_certificate=None)
    assert refusal(lab.hybrid(hybrid_body(lab, "one"))) == wanted


def test_a_joined_device_of_a_user_cannot_be_taken_over(lab: Lab) -> None:
    """A device that the sync did not make has no such proof."""
    device = lab.joined("two")
    reply = lab.hybrid(hybrid_body(lab, "one"), guid=device.device_id)
    assert refusal(reply) == (400, "DirectoryError", "no device of the sync")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signer": "other"}, "the signed SID is not signed with the synced userCertificate"),
        ({"sid": "S-1-5-21-1-2-3-1202"}, "the signed SID is another computer's"),
        ({"offset_s": 301}, "the signed SID's time is too far off"),
        ({"offset_s": -301}, "the signed SID's time is too far off"),
        ({"text": "S-1-5-21-1-2-3-1201"}, "the signed SID has another form"),
        ({"text": f"{COMPUTER_SID}.2026-06-01 12:00:00"}, "the signed SID has another form"),
        ({"text": f"{COMPUTER_SID}.2026-06-31 12:00:00Z"}, "the signed SID has another form"),
        ({"text": f"{COMPUTER_SID}.2026-06-01T12:00:00Z"}, "the signed SID has another form"),
        ({"text": f"{COMPUTER_SID}.٢٠٢٦-06-01 12:00:00Z"}, "the signed SID has another form"),
    ],
    ids=["key", "SID", "ahead", "behind", "no time", "no Z", "no such day", "T", "digits"],
)
def test_a_proof_that_does_not_hold_is_refused(lab: Lab, changes: dict[str, Any], why: str) -> None:
    """Field contract 2.2: SID, time window, signature by the synced certificate."""
    reply = lab.hybrid(hybrid_body(lab, "one", **changes))
    assert refusal(reply) == (401, "AuthenticationError", why)
    assert lab.device("one") is None


def test_the_edge_of_the_time_window_is_within_it(lab: Lab) -> None:
    """The setting hybrid_clock_window_s, both ends included."""
    assert lab.hybrid(hybrid_body(lab, "one", offset_s=-300)).status == 200
    assert lab.hybrid(hybrid_body(lab, "two", offset_s=300)).status == 200


def test_a_proof_is_good_for_one_request(lab: Lab) -> None:
    """It does not name the key that it comes with: a second key with it would be an intruder's."""
    first = hybrid_body(lab, "one")
    assert lab.hybrid(first).status == 200
    second = hybrid_body(lab, "two")
    second["ServerAdJoinData"]["ClientIdentity"] = first["ServerAdJoinData"]["ClientIdentity"]
    assert refusal(lab.hybrid(second)) == (401, "AuthenticationError", "the signed SID was used")


def test_an_earlier_proof_than_the_last_is_refused(lab: Lab) -> None:
    """Rule 3: times only rise."""
    earlier = hybrid_body(lab, "one", offset_s=-5)
    assert lab.hybrid(hybrid_body(lab, "two")).status == 200
    assert refusal(lab.hybrid(earlier))[2] == "the signed SID was used"


def test_the_same_request_again_gets_the_same_answer(lab: Lab) -> None:
    """An answer that was lost on the way."""
    body = hybrid_body(lab, "one")
    first = lab.hybrid(body)
    lab.now += timedelta(seconds=10)
    again = lab.hybrid(body)
    assert (again.status, again.body) == (200, first.body)


def test_a_second_join_replaces_key_and_certificate(lab: Lab) -> None:
    """The task runs again with new keys; the earlier certificate speaks for nobody then."""
    assert lab.hybrid(hybrid_body(lab, "one")).status == 200
    before = lab.device("one")
    assert before is not None
    lab.now += timedelta(hours=1)
    assert lab.hybrid(hybrid_body(lab, "two")).status == 200
    after = lab.device("two")
    assert after is not None
    assert after.device_id == before.device_id
    assert lab.device("one") is None
    with lab.tenant.database.read() as c:
        assert devices.device_by_certificate(c, before.certificate or b"") is None


def test_a_device_key_of_another_device_is_refused(lab: Lab) -> None:
    """Row R10."""
    lab.joined("one")
    reply = lab.hybrid(hybrid_body(lab, "one"))
    assert refusal(reply) == (409, "DirectoryError", "the device key is another device's")


def test_a_disabled_computer_is_refused(tmp_path: Path) -> None:
    """Who disabled it meant it."""
    lab = make_lab(tmp_path)
    synced_computer(lab, enabled=False)
    reply = lab.hybrid(hybrid_body(lab, "one"))
    assert refusal(reply) == (403, "AuthorizationError", "device disabled")


def test_another_join_type_is_refused(lab: Lab) -> None:
    """PUT is for JoinType 6 alone."""
    reply = lab.hybrid(hybrid_body(lab, "one", join_type=0))
    assert refusal(reply) == (400, "AuthenticationError", "join type not allowed")


def test_another_kind_of_proof_is_refused(lab: Lab) -> None:
    """sha256signed is the one that clients send."""
    reply = lab.hybrid(hybrid_body(lab, "one", kind="plain"))
    assert refusal(reply) == (400, "BadRequest", "unknown client identity type")


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ("ServerAdJoinData", "the member ServerAdJoinData is missing or no object"),
        ("CertificateRequest", "the member CertificateRequest is missing or no object"),
    ],
)
def test_a_body_without_its_parts_is_refused(lab: Lab, member: str, why: str) -> None:
    """What the clients of the field send, and nothing less."""
    body = hybrid_body(lab, "one")
    del body[member]
    assert refusal(lab.hybrid(body)) == (400, "BadRequest", why)


def test_a_path_without_a_guid_is_refused(lab: Lab) -> None:
    """The path names the device."""
    for text in ("5e1c2f868f3c4a379c3e6a0c5a2f1b77", "x" * 36):
        reply = lab.hybrid(hybrid_body(lab, "one"), guid=text)
        assert refusal(reply) == (400, "BadRequest", "device id is no GUID")


def test_a_userCertificate_that_cannot_be_used_is_refused(tmp_path: Path) -> None:  # noqa: N802  the attribute
    """What the sync brought is the computer's word, and judged as such."""
    lab = make_lab(tmp_path)
    synced_computer(lab, user_certificate=b"no certificate")
    why = "the synced userCertificate has no key that is accepted"
    reply = lab.hybrid(hybrid_body(lab, "one"))
    assert refusal(reply) == (401, "AuthenticationError", why)


# -- leaving ---------------------------------------------------------------------------------


def leave(lab: Lab, device_id: object, certificate: bytes | None) -> Any:
    return lab.send("DELETE", f"/EnrollmentServer/device/{device_id}", certificate=certificate)


def test_a_device_deletes_itself(lab: Lab) -> None:
    """MS-DVRJ 3.1.5.1.2: 200 and an empty body."""
    device = lab.joined("one")
    reply = leave(lab, device.device_id, device.certificate)
    assert (reply.status, reply.body) == (200, b"")
    assert lab.device("one") is None


def test_a_device_that_is_gone_is_unknown(lab: Lab) -> None:
    """MS-DVRJ 3.1.5.1.2.3: 401 when no device object has the certificate."""
    device = lab.joined("one")
    assert leave(lab, device.device_id, device.certificate).status == 200
    reply = leave(lab, device.device_id, device.certificate)
    why = "the client certificate is no device's"
    assert refusal(reply) == (401, "AuthenticationError", why)


def test_without_a_certificate_nothing_is_deleted(lab: Lab) -> None:
    """MS-DVRJ 3.1.5.1.2.3: 401; a token is no proof here."""
    device = lab.joined("one")
    reply = lab.send("DELETE", f"/EnrollmentServer/device/{device.device_id}", token=lab.token())
    assert refusal(reply) == (401, "AuthenticationError", "no client certificate")
    assert lab.device("one") is not None


def test_a_foreign_device_cannot_be_deleted(lab: Lab) -> None:
    """Row R09: a device speaks for itself."""
    mine, other = lab.joined("one"), lab.joined("two")
    reply = leave(lab, other.device_id, mine.certificate)
    assert refusal(reply) == (403, "AuthorizationError", "another device in the path")
    assert lab.device("two") == other


def test_a_path_that_names_no_device_fails(lab: Lab) -> None:
    """MS-DVRJ 3.1.5.1.2.3: 400 when it cannot be done."""
    device = lab.joined("one")
    reply = leave(lab, "x", device.certificate)
    assert refusal(reply) == (400, "BadRequest", "device id is no GUID")


def test_what_cannot_be_written_is_said(lab: Lab) -> None:
    """MS-DVRJ 3.1.5.1.2.3: 400 when the object cannot be removed; 503 for what can be repeated."""
    device = lab.joined("one")
    fill_disk(lab)
    unavailable = ("DirectoryError", "database unavailable")
    reply = leave(lab, device.device_id, device.certificate)
    assert refusal(reply) == (400, *unavailable)
    assert refusal(lab.hybrid(hybrid_body(lab, "two"))) == (503, *unavailable)
    assert refusal(lab.join(join_body("three"))) == (503, *unavailable)


def test_a_disabled_device_may_go(lab: Lab) -> None:
    """Deleting gives nobody anything."""
    device = lab.joined("one")
    with lab.tenant.database.write() as c:
        devices.update_device(c, replace(device, enabled=False))
    assert leave(lab, device.device_id, device.certificate).status == 200
