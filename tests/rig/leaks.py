"""Look for secrets where none should be, in every form in which one could have got there."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

MIN_BYTES = 6  # shorter ones would be found by chance
PART_BYTES = 16  # a part of a key is a leak, too
_ZEROS = re.compile(rb"\0{64,}")
_SPACE = re.compile(rb"\s+")
_NO_HEX = re.compile(rb"[\s:]+|\\n|0x|, ")


def base64_forms(value: bytes) -> Iterator[bytes]:
    """Give the Base64 of a value at each place it can have inside something longer."""
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + value)
        # The first and last characters also hold bits of the neighbours.
        start = (0, 2, 3)[shift]
        end = (shift + len(value)) // 3 * 4
        inner = text[start:end]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _plain_forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield repr(value)[2:-1].encode()
    yield json.dumps(value.decode("latin-1"))[1:-1].encode()
    yield json.dumps(value.decode("latin-1"), ensure_ascii=False)[1:-1].encode()


def _parts(value: bytes) -> Iterator[bytes]:
    yield value
    if len(value) >= 2 * PART_BYTES:
        yield value[:PART_BYTES]
        yield value[-PART_BYTES:]


@dataclass(slots=True, kw_only=True)
class Secrets:
    """Named secrets, and what they look like in a file or a text."""

    plain: dict[bytes, str] = field(default_factory=dict, repr=False)
    """Form -> name, looked for in the data as they are."""
    squeezed: dict[bytes, str] = field(default_factory=dict, repr=False)
    """Looked for in the data without white space: Base64 in lines."""
    digits: dict[bytes, str] = field(default_factory=dict, repr=False)
    """Looked for in lower case and without white space and colons: hexadecimal and decimal."""

    @property
    def names(self) -> set[str]:
        """What is looked for."""
        return set(self.plain.values())

    def add(self, name: str, value: bytes) -> None:
        """Add a key or any other octets."""
        assert len(value) >= MIN_BYTES, name
        for part in _parts(value):
            for form in _plain_forms(part):
                self.plain.setdefault(form, name)
            for form in base64_forms(part):
                self.squeezed.setdefault(form, name)
            self.digits.setdefault(part.hex().encode(), name)
        self.digits.setdefault(",".join(map(str, value)).encode(), name)

    def add_text(self, name: str, text: str) -> None:
        """Add a password."""
        self.add(name, text.encode())
        wide = text.encode("utf-16-le")
        self.plain.setdefault(wide, name)
        self.digits.setdefault(wide.hex().encode(), name)
        for form in base64_forms(wide):
            self.squeezed.setdefault(form, name)

    def add_number(self, name: str, number: int) -> None:
        """Add a private number of a key."""
        octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
        self.add(name, octets)
        self.plain.setdefault(octets[::-1], name)
        self.digits.setdefault(str(number).encode(), name)

    def add_private_key(
        self, name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    ) -> None:
        """Add all private numbers of a key, and so every encoding of it."""
        if isinstance(key, ec.EllipticCurvePrivateKey):
            self.add_number(name, key.private_numbers().private_value)
            return
        numbers = key.private_numbers()
        for number in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
            self.add_number(name, number)

    def add_pem(self, name: str, path: Path) -> None:
        """Add the private key of a PEM file."""
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        self.add_private_key(name, key)

    def found_in(self, data: bytes) -> set[str]:
        """Return the names of the secrets that are in some data, in any form."""
        data = _ZEROS.sub(bytes(64), data)  # maps are mostly empty
        squeezed = _SPACE.sub(b"", data)
        digits = _NO_HEX.sub(lambda m: b"," if m[0] == b", " else b"", data.lower())
        return {
            name
            for forms, where in (
                (self.plain, data),
                (self.squeezed, squeezed),
                (self.digits, digits),
            )
            for form, name in forms.items()
            if form in where
        }

    def leaks(self, folder: Path, allowed: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
        """Search every file below a folder; return path -> names of secrets that are not allowed.

        allowed: path below the folder -> names of the secrets it is meant to hold. Each of them
        must be found there, which shows that the search finds what there is.
        """
        out = {}
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            place = str(path.relative_to(folder))
            found = self.found_in(path.read_bytes())
            wanted = set(allowed.get(place, ()))
            assert wanted <= found, f"{place} should hold {wanted - found}"
            if found - wanted:
                out[place] = found - wanted
        return out
