"""msDS-KeyCredentialLink: the DN-Binary text, the blob inside, and what makes a value usable.

Rules
  1. Reading never raises: a bad value is a `KeyCredential` with usable=False and a fixed reason,
     so that it cannot harm its neighbours on the same account.
  2. Only KeyID, KeyMaterial and KeyUsage decide. Everything else is recorded, and odd forms of it
     are warnings: genuine values have many (no KeySource, five-octet CustomKeyInformation, ...).
  3. KeyHash is unkeyed and protects nothing, and widely used tools write it wrong: a warning.

Sources: MS-ADTS 2.2.20 (KEYCREDENTIALLINK_BLOB), 3.1.1.5.3.1.1.6; RFC 4514 for the DN.
"""

import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import sha256
from uuid import UUID

from directory.distinguished_name import same_object
from directory.keymaterial import MaterialForm, decode_key_material, encode_key_material
from directory.model import KeyCredential
from pki.errors import PkiError
from pki.keys import KeyPolicy, PublicKey, check_key, has_roca_fingerprint

VERSION = 0x00000200
MAX_BLOB_BYTES = 64 * 1024  # Samba's bound for key material; genuine values have under 1 KiB
MAX_VALUES = 512  # parsed per account: a hostile attribute must not cost more than 50 ms
MAX_TOTAL_CHARS = 2 * 1024 * 1024  # of all values parsed of one account; genuine ones have 900

_ENTRY_HEADER = struct.Struct("<HB")
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_DOTNET_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
# NGC keys are RSA of 2048 bits by MS-ADTS; smaller ones are never used (their registration is a
# mistake or an attack). ROCA is judged where its policy is known, when the key signs.
_REGISTERED_KEYS = KeyPolicy(roca="ignore")


class EntryId(IntEnum):
    """Identifiers of KEYCREDENTIALLINK_ENTRY (MS-ADTS 2.2.20.6)."""

    KEY_ID = 0x01
    KEY_HASH = 0x02
    KEY_MATERIAL = 0x03
    KEY_USAGE = 0x04
    KEY_SOURCE = 0x05
    DEVICE_ID = 0x06
    CUSTOM_KEY_INFORMATION = 0x07
    APPROXIMATE_LAST_LOGON = 0x08
    CREATION_TIME = 0x09


class KeyUsage(IntEnum):
    """What a registered key is for. Only NGC keys log on."""

    NGC = 0x01


class KeySource(IntEnum):
    """Where a key was registered."""

    AD = 0x00
    AZURE_AD = 0x01


class _BadValueError(Exception):
    """Leaves the parser with the fixed reason why a value is not usable."""


def parse_dn_binary(text: str) -> tuple[bytes, str]:
    """Split `B:<n>:<hex>:<DN>` into the octets and the DN; n counts hexadecimal digits.

    Raises ValueError with a fixed reason.
    """
    if len(text) > 2 * MAX_BLOB_BYTES + 4096:
        raise ValueError("value too long")
    parts = text.split(":", 3)
    if len(parts) != 4 or parts[0] not in ("B", "b"):
        raise ValueError("not a DN-Binary value")
    _, count, digits, dn = parts
    if not (count.isascii() and count.isdigit()) or len(count) > 8:
        raise ValueError("DN-Binary length is not a number")
    if int(count) != len(digits):
        raise ValueError("DN-Binary length is not the number of hex digits")
    # bytes.fromhex skips white space; then fewer octets come out than there were digits.
    try:
        blob = bytes.fromhex(digits)
    except ValueError:
        raise ValueError("DN-Binary value is not hexadecimal") from None
    if 2 * len(blob) != len(digits):
        raise ValueError("DN-Binary value is not hexadecimal")
    return blob, dn


def format_dn_binary(blob: bytes, dn: str) -> str:
    """Render octets and a DN as `B:<n>:<HEX>:<DN>`, digits in upper case as AD does."""
    return f"B:{2 * len(blob)}:{blob.hex().upper()}:{dn}"


# -- reading ---------------------------------------------------------------------------------


def decode_key_credential(
    text: str,
    *,
    owner_dn: str | None = None,
    owner_guid: UUID | None = None,
    check_keyid: bool = True,
) -> KeyCredential:
    """Decode one attribute value; what is wrong with it is in `usable`, `reason`, `warnings`.

    owner_dn, owner_guid: the object that holds the value; None: the DN part is not compared.
    check_keyid: the configuration's keycredential_check_keyid.
    """
    try:
        blob, dn = parse_dn_binary(text)
    except ValueError as error:
        return KeyCredential(text=text, usable=False, reason=str(error))
    credential = decode_blob(blob, text=text, check_keyid=check_keyid)
    if owner_dn is not None and not same_object(dn, owner_dn, owner_guid):
        if credential.usable:
            return replace(credential, usable=False, reason="DN part names another object")
        return credential
    return credential


def decode_values(
    texts: Iterable[str],
    *,
    owner_dn: str | None = None,
    owner_guid: UUID | None = None,
    check_keyid: bool = True,
) -> tuple[KeyCredential, ...]:
    """Decode the values of one account: the first MAX_VALUES within MAX_TOTAL_CHARS."""
    out: list[KeyCredential] = []
    left = MAX_TOTAL_CHARS
    for text in texts:
        left -= len(text)
        if left < 0 or len(out) == MAX_VALUES:
            break
        out.append(
            decode_key_credential(
                text, owner_dn=owner_dn, owner_guid=owner_guid, check_keyid=check_keyid
            )
        )
    return tuple(out)


def decode_blob(blob: bytes, *, text: str, check_keyid: bool = True) -> KeyCredential:
    """Decode a KEYCREDENTIALLINK_BLOB; text: the value it came in, kept as it is."""
    reader = _BlobReader(blob)
    try:
        reader.split()
        reader.judge(check_keyid)
        reason = ""
    except _BadValueError as error:
        reason = str(error)
    return reader.result(text, reason)


class _BlobReader:
    """One pass over a blob: entries, then the three that decide, then the recorded ones."""

    __slots__ = ("blob", "entries", "key", "key_start", "material", "warnings")

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.entries: dict[int, bytes] = {}
        self.key_start = 0  # where the entry after KeyHash begins
        self.key: PublicKey | None = None
        self.material = ""
        self.warnings: list[str] = []

    def split(self) -> None:
        """Cut the blob into entries: version 0x200, identifiers strictly increasing."""
        blob = self.blob
        size = len(blob)
        if size > MAX_BLOB_BYTES:
            raise _BadValueError("value too long")
        if size < 4 or int.from_bytes(blob[:4], "little") != VERSION:
            raise _BadValueError("version is not 0x200")
        pos = 4
        last = -1
        while pos < size:
            if pos + 3 > size:
                raise _BadValueError("entry cut short")
            length, identifier = _ENTRY_HEADER.unpack_from(blob, pos)
            start, pos = pos + 3, pos + 3 + length
            if pos > size:
                raise _BadValueError("entry runs past the end")
            if identifier == last:
                raise _BadValueError("entry twice")
            if identifier < last:
                raise _BadValueError("entries out of order")
            last = identifier
            self.entries[identifier] = blob[start:pos]
            if identifier == EntryId.KEY_HASH:
                self.key_start = pos

    def judge(self, check_keyid: bool) -> None:
        """Look at KeyID, KeyMaterial and KeyUsage; raise _BadValueError when one rules it out."""
        entries = self.entries
        for needed in (EntryId.KEY_ID, EntryId.KEY_MATERIAL, EntryId.KEY_USAGE):
            if needed not in entries:
                raise _BadValueError("KeyID, KeyMaterial or KeyUsage missing")
        material = entries[EntryId.KEY_MATERIAL]
        fault = ""
        try:
            self.material, self.key = decode_key_material(material)
            check_key(self.key, _REGISTERED_KEYS)
        except PkiError as error:
            fault = f"key material: {error}"
        if material[:1] == b"{":
            self.material = MaterialForm.FIDO
        if entries[EntryId.KEY_USAGE] != bytes((KeyUsage.NGC,)):
            raise _BadValueError("KeyUsage is not NGC")
        if fault:
            raise _BadValueError(fault)
        if not hmac.compare_digest(sha256(material).digest(), entries[EntryId.KEY_ID]):
            if check_keyid:
                raise _BadValueError("KeyID is not the digest of KeyMaterial")
            self.warnings.append("KeyID is not the digest of KeyMaterial")
        if self.key is not None and self.key.n and has_roca_fingerprint(self.key.n):
            self.warnings.append("ROCA fingerprint (CVE-2017-15361)")

    def result(self, text: str, reason: str) -> KeyCredential:
        """Collect what was found, with the recorded entries read leniently."""
        entries = self.entries
        hashed = entries.get(EntryId.KEY_HASH)
        if hashed is None:
            self.warnings.append("KeyHash absent")
        elif not hmac.compare_digest(hashed, sha256(self.blob[self.key_start :]).digest()):
            self.warnings.append("KeyHash wrong")
        usage = entries.get(EntryId.KEY_USAGE, b"")
        source = entries.get(EntryId.KEY_SOURCE, b"")
        if EntryId.KEY_SOURCE in entries and len(source) != 1:
            self.warnings.append("KeySource is not one octet")
        device = entries.get(EntryId.DEVICE_ID)
        if device is not None and len(device) != 16:
            self.warnings.append("DeviceId is not 16 octets")
            device = None
        ticks = bool(source) and source[0] == KeySource.AZURE_AD
        fido = ""
        if self.material == MaterialForm.FIDO:
            fido = entries[EntryId.KEY_MATERIAL].decode("utf-8", "replace")
        return KeyCredential(
            text=text,
            usable=not reason,
            reason=reason,
            key_id=entries.get(EntryId.KEY_ID, b""),
            public_key=self.key,
            material=self.material,
            usage=usage[0] if len(usage) == 1 else None,
            source=source[0] if len(source) == 1 else None,
            device_id=UUID(bytes_le=device) if device and any(device) else None,
            custom_key_information=entries.get(EntryId.CUSTOM_KEY_INFORMATION),
            last_logon=self._time(EntryId.APPROXIMATE_LAST_LOGON, ticks),
            created=self._time(EntryId.CREATION_TIME, ticks),
            fido=fido,
            warnings=tuple(self.warnings),
        )

    def _time(self, entry: EntryId, dotnet: bool) -> datetime | None:
        raw = self.entries.get(entry)
        if raw is None:
            return None
        value = None
        if len(raw) == 8:
            value = decode_time(int.from_bytes(raw, "little"), dotnet)
        if value is None:
            self.warnings.append(f"{entry.name} is not a time")
        return value


def decode_time(raw: int, dotnet: bool) -> datetime | None:
    """Decode a 64-bit time: FILETIME, or what .NET's DateTime.ToBinary makes (KeySource AzureAD).

    Both count 100 ns, from 1601 and from year 1; the top two bits of the latter are its kind.
    """
    epoch = _DOTNET_EPOCH if dotnet else _FILETIME_EPOCH
    ticks = raw & 0x3FFF_FFFF_FFFF_FFFF if dotnet else raw
    try:
        return epoch + timedelta(microseconds=ticks // 10)
    except OverflowError:
        return None


def encode_time(value: datetime, dotnet: bool) -> int:
    """Encode an aware datetime as `decode_time` reads it."""
    epoch = _DOTNET_EPOCH if dotnet else _FILETIME_EPOCH
    ticks = (value - epoch) // timedelta(microseconds=1) * 10
    return ticks | 1 << 62 if dotnet else ticks


# -- writing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeyCredential:
    """What goes into a value we write; None leaves an entry out."""

    public_key: PublicKey
    material: MaterialForm = MaterialForm.BCRYPT
    """BCRYPT is what Windows writes for users, RSAPublicKey for computers."""
    material_octets: bytes | None = None
    """The key material as it was registered elsewhere, byte for byte: its digest is the KeyID there
    too. None: `public_key` in the form `material`."""
    created: datetime
    source: KeySource | None = KeySource.AD
    device_id: UUID | None = None
    custom_key_information: bytes | None = None
    last_logon: datetime | None = None


def encode_blob(new: NewKeyCredential) -> bytes:
    """Encode a KEYCREDENTIALLINK_BLOB with KeyID and KeyHash right and entries in order."""
    material = new.material_octets
    if material is None:
        material = encode_key_material(new.public_key, new.material)
    dotnet = new.source is KeySource.AZURE_AD
    tail = [
        _entry(EntryId.KEY_MATERIAL, material),
        _entry(EntryId.KEY_USAGE, bytes((KeyUsage.NGC,))),
    ]
    if new.source is not None:
        tail.append(_entry(EntryId.KEY_SOURCE, bytes((new.source,))))
    if new.device_id is not None:
        tail.append(_entry(EntryId.DEVICE_ID, new.device_id.bytes_le))
    if new.custom_key_information is not None:
        tail.append(_entry(EntryId.CUSTOM_KEY_INFORMATION, new.custom_key_information))
    if new.last_logon is not None:
        last_logon = encode_time(new.last_logon, dotnet).to_bytes(8, "little")
        tail.append(_entry(EntryId.APPROXIMATE_LAST_LOGON, last_logon))
    created = encode_time(new.created, dotnet).to_bytes(8, "little")
    tail.append(_entry(EntryId.CREATION_TIME, created))
    hashed = b"".join(tail)
    return (
        VERSION.to_bytes(4, "little")
        + _entry(EntryId.KEY_ID, sha256(material).digest())
        + _entry(EntryId.KEY_HASH, sha256(hashed).digest())
        + hashed
    )


def encode_key_credential(new: NewKeyCredential, owner_dn: str) -> str:
    """Encode a value as it stands in the directory: `B:<n>:<HEX>:<DN>`."""
    return format_dn_binary(encode_blob(new), owner_dn)


def _entry(identifier: EntryId, value: bytes) -> bytes:
    return _ENTRY_HEADER.pack(len(value), identifier) + value
