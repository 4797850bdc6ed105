"""A GSSAPI initiator and acceptor of MIT's library, talking to each other in this process.

    python -m tests.rig.gss_loop host/web.lab.test@LAB.TEST [host/next.lab.test@LAB.TEST]

The initiator takes its tickets from KRB5CCNAME, the acceptor its keys from KRB5_KTNAME. With a
second service the credentials are delegated and used for it. Prints one JSON object.
"""

import ctypes
import json
import sys
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any

_LIBRARY = "libgssapi_krb5.so.2"
_KRB5 = bytes.fromhex("2a864886f712010202")
_PRINCIPAL_NAME = bytes.fromhex("2a864886f71201020201")
_DELEGATE, _MUTUAL, _CONFIDENTIALITY = 1, 2, 16
_CONTINUE = 1
_CODE = {1: "GSS", 2: "mechanism"}


class Buffer(Structure):
    """gss_buffer_desc."""

    _fields_ = (("length", c_size_t), ("value", c_char_p))


class Oid(Structure):
    """gss_OID_desc."""

    _fields_ = (("length", c_uint32), ("elements", c_char_p))


def _oid(octets: bytes) -> Oid:
    return Oid(len(octets), octets)


class Gss:
    """The few functions that are needed; a failure is a RuntimeError with MIT's own words."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._minor = c_uint32()

    def call(self, function: str, *arguments: Any) -> int:
        """Call gss_<function>; return its major status, 0 or "continue needed"."""
        major = int(getattr(self._library, f"gss_{function}")(byref(self._minor), *arguments))
        if major & 0xFFFF0000:
            texts = [self._status(major, 1), self._status(self._minor.value, 2)]
            raise RuntimeError(f"gss_{function}: {'; '.join(texts)}")
        return major

    def _status(self, code: int, kind: int) -> str:
        text, minor, context = Buffer(), c_uint32(), c_uint32()
        mechanism = _oid(_KRB5)
        self._library.gss_display_status(
            byref(minor), c_uint32(code), kind, byref(mechanism), byref(context), byref(text)
        )
        return f"{_CODE[kind]}: {octets(text).decode(errors='replace')}"

    def import_name(self, principal: str) -> c_void_p:
        """Return the name of a Kerberos principal."""
        given = _buffer(principal.encode())
        kind, out = _oid(_PRINCIPAL_NAME), c_void_p()
        self.call("import_name", byref(given), byref(kind), byref(out))
        return out

    def display_name(self, given: c_void_p) -> str:
        """Return a name as text."""
        text = Buffer()
        self.call("display_name", given, byref(text), None)
        return octets(text).decode()

    def attribute(self, given: c_void_p, attribute: str) -> tuple[bool, bytes]:
        """Return whether an attribute of a name is authenticated, and its value."""
        asked, value, shown = _buffer(attribute.encode()), Buffer(), Buffer()
        authenticated, complete, more = c_int(), c_int(), c_int(-1)
        self.call(
            "get_name_attribute",
            *(given, byref(asked), byref(authenticated), byref(complete)),
            *(byref(value), byref(shown), byref(more)),
        )
        return bool(authenticated.value), octets(value)


def _buffer(octets_given: bytes) -> Buffer:
    return Buffer(len(octets_given), octets_given)


def octets(buffer: Buffer) -> bytes:
    """Return the content of a buffer, zeros and all."""
    address = ctypes.cast(
        ctypes.addressof(buffer) + Buffer.value.offset, POINTER(c_void_p)
    ).contents.value
    return ctypes.string_at(address, buffer.length) if address else b""


def establish(
    gss: Gss, service: str, credential: c_void_p | None, flags: int
) -> tuple[dict[str, object], c_void_p]:
    """Make a security context with a service, both ends, and send one sealed message through it.

    Returns what the acceptor saw, and the credential that was delegated to it.
    """
    target, mechanism = gss.import_name(service), _oid(_KRB5)
    initiator, acceptor = c_void_p(), c_void_p()
    source, delegated = c_void_p(), c_void_p()
    seen, to_initiator, to_acceptor = c_uint32(), Buffer(), Buffer()
    going = True
    while going:
        major = gss.call(
            "init_sec_context",
            *(credential, byref(initiator), target, byref(mechanism), c_uint32(flags)),
            *(c_uint32(0), None, byref(to_initiator), None, byref(to_acceptor), None, None),
        )
        going = major == _CONTINUE
        if to_acceptor.length:
            gss.call(
                "accept_sec_context",
                *(byref(acceptor), None, byref(to_acceptor), None, byref(source), None),
                *(byref(to_initiator), byref(seen), None, byref(delegated)),
            )
            to_acceptor = Buffer()
    sealed, opened, is_sealed = Buffer(), Buffer(), c_int()
    text = _buffer(b"one sealed message")
    gss.call("wrap", initiator, 1, c_uint32(0), byref(text), byref(is_sealed), byref(sealed))
    gss.call("unwrap", acceptor, byref(sealed), byref(opened), byref(is_sealed), None)
    authenticated, logon_info = gss.attribute(source, "urn:mspac:logon-info")
    saw: dict[str, object] = {
        "client": gss.display_name(source),
        "delegated": bool(seen.value & _DELEGATE),
        "message": octets(opened).decode(),
        "sealed": bool(is_sealed.value),
        "pac_verified": authenticated,
        "logon_info": logon_info.hex(),
    }
    return saw, delegated


def main() -> None:
    """Establish one context, or two, the second with delegated credentials."""
    gss = Gss()
    first, *rest = sys.argv[1:]
    flags = _MUTUAL | _CONFIDENTIALITY | (_DELEGATE if rest else 0)
    saw, delegated = establish(gss, first, None, flags)
    for service in rest:
        saw["next"], _ = establish(gss, service, delegated, _MUTUAL | _CONFIDENTIALITY)
    print(json.dumps(saw))


if __name__ == "__main__":
    main()
