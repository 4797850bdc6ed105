"""What the sync job writes and takes: the shape of a key's value, the choice of a certificate."""

import hmac
from datetime import timedelta
from hashlib import sha1, sha256
from uuid import UUID

import pytest

from directory.keycredential import decode_blob, format_dn_binary
from directory.keymaterial import MaterialForm, encode_key_material
from pki.certificate import Certificate
from pki.keys import public_key_from_cryptography, public_key_from_spki
from tenant.sync.mapping import (
    MappingError,
    alt_security_identity,
    blobs_of,
    device_certificate,
    key_blob,
    key_of,
)
from tests.tenant.sync.builders import NOW, certificate, key, material, number, rsa_key, spki

_TICKS_OF_2026_11_22_12H = 639_309_456_000_000_000  # of .NET: 100 ns since the year 1
GUID = number("guid PC1$")


def _entries(blob: bytes) -> list[tuple[int, bytes]]:
    """Cut a KEYCREDENTIALLINK_BLOB by the letter of MS-ADTS 2.2.20.2, without our decoder."""
    assert blob[:4] == bytes.fromhex("00020000")
    found, rest = [], blob[4:]
    while rest:
        size, identifier = int.from_bytes(rest[:2], "little"), rest[2]
        found.append((identifier, rest[3 : 3 + size]))
        rest = rest[3 + size :]
    return found


def test_a_value_has_the_entries_of_a_key_that_came_from_the_cloud() -> None:
    """MS-ADTS 2.2.20: nine entries in order; octet by octet what Entra Connect writes."""
    entries = _entries(key_blob(key(device_id=UUID("8d2f0a52-5a8c-4f0e-9a53-0d1f2b3c4d5e"))))
    time = (_TICKS_OF_2026_11_22_12H | 1 << 62).to_bytes(8, "little")
    assert [identifier for identifier, _ in entries] == list(range(1, 10))
    values = dict(entries)
    assert values[1] == sha256(material("alice")).digest()
    assert values[3] == material("alice")
    assert values[4] == b"\x01"
    assert values[5] == b"\x01"
    assert values[6] == bytes.fromhex("520a2f8d8c5a0e4f9a530d1f2b3c4d5e")
    assert values[7] == b"\x01\x00"
    assert values[8] == values[9] == time


def test_the_key_hash_is_over_everything_behind_it() -> None:
    """MS-ADTS 2.2.20.6: KeyHash is the SHA-256 of the entries that follow it."""
    blob = key_blob(key())
    (_, key_hash) = _entries(blob)[1]
    start = 4 + 3 + 32 + 3 + 32
    assert hmac.compare_digest(key_hash, sha256(blob[start:]).digest())


def test_an_attested_key_says_so() -> None:
    """MS-ADTS 2.2.20.5.1: the flag ATTESTATION; never MFA_NOT_USED."""
    credential = decode_blob(key_blob(key(attested=True)), text="")
    assert credential.custom_key_information == b"\x01\x01"
    assert credential.attested
    assert credential.multifactor


def test_a_key_without_a_device_has_no_device_entry() -> None:
    """MS-ADTS 2.2.20.6: DeviceId is optional."""
    assert [i for i, _ in _entries(key_blob(key(device_id=None)))] == [1, 2, 3, 4, 5, 7, 8, 9]


def test_material_goes_down_as_it_was_registered() -> None:
    """A blob with a longer exponent field keeps its octets, and so its KeyID."""
    canonical = material("alice")
    odd = canonical[:8] + b"\x04\0\0\0" + canonical[12:24] + b"\0" + canonical[24:]
    values = dict(_entries(key_blob(key(material=odd))))
    assert values[3] == odd
    assert values[1] == sha256(odd).digest()


def test_material_that_is_no_rsa1_blob_stays_up() -> None:
    """MS-KPP 2.2.2.1: kngc is a BCRYPT_RSAKEY_BLOB."""
    with pytest.raises(MappingError, match="no RSA1 blob"):
        key_blob(key(material=spki("alice")))
    with pytest.raises(MappingError, match="cannot be read"):
        key_blob(key(material=b"RSA1 and more"))


def test_a_key_that_could_not_log_on_stays_up() -> None:
    """Row K12: a short key in the directory would be dead weight, or an attack."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505
    data = encode_key_material(public_key_from_cryptography(short), MaterialForm.BCRYPT)
    with pytest.raises(MappingError, match="could not log on"):
        key_blob(key(material=data))


def test_values_are_told_by_their_octets_alone() -> None:
    """A renamed account's values hold its new name, and are the same values."""
    blob = key_blob(key())
    old = format_dn_binary(blob, "CN=alice,DC=lab")
    assert blobs_of((old, "nonsense")) == {blob: old}
    assert blobs_of((format_dn_binary(blob, "CN=alice smith,DC=lab"),)).keys() == {blob}


def test_one_key_in_two_values_is_the_same_key() -> None:
    """Whatever device, time and source they give."""
    assert key_of(key_blob(key())) == key_of(key_blob(key(device_id=None, attested=True)))
    assert key_of(key_blob(key())) != key_of(key_blob(key("bob")))
    assert key_of(b"nonsense") is None


# -- certificates ----------------------------------------------------------------------------


def test_the_newest_certificate_that_names_the_computer_counts() -> None:
    """Entra Connect: the subject is CN=objectGUID, and it has not expired."""
    old = certificate("old", str(GUID), made=NOW - timedelta(days=9))
    new = certificate("new", f"{{{GUID}}}", made=NOW - timedelta(days=2))
    chosen = device_certificate((old, new, b"no certificate"), GUID, NOW)
    assert chosen is not None
    assert chosen.subject_public_key_info == Certificate(new).subject_public_key_info


@pytest.mark.parametrize(
    "value",
    [
        certificate("k", str(number("another"))),
        certificate("k", "pc1.lab.test"),
        certificate("k", str(GUID), made=NOW - timedelta(days=10), days=5),
    ],
    ids=["another computer's", "a TLS certificate", "expired"],
)
def test_other_certificates_make_no_device(value: bytes) -> None:
    """The attribute userCertificate holds whatever certificates a computer has."""
    assert device_certificate((value,), GUID, NOW) is None


# -- device objects --------------------------------------------------------------------------


def test_a_device_object_names_its_certificate_by_two_digests() -> None:
    """MS-DVRJ 3.1.5.1.1.3: X509:<SHA1-TP-PUBKEY>, thumbprint, + and the digest of the key."""
    import base64

    value = certificate("k", "x")
    thumbprint = sha1(value).digest()  # noqa: S324  # it is what the attribute has
    spki_of = Certificate(value).subject_public_key_info
    inner = public_key_from_spki(spki_of).rsa_public_key_der()
    assert alt_security_identity(value) == (
        f"X509:<SHA1-TP-PUBKEY>{thumbprint.hex().upper()}"
        f"+{base64.b64encode(sha256(inner).digest()).decode()}"
    )
    assert rsa_key("k").key_size == 2048
