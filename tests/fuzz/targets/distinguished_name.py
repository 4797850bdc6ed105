"""A DN-Binary value or a DN is refused with a ValueError, or reads the same when rewritten.

Every DN that can be read names the same object as itself in other spacing, case and escaping.
"""

from directory.distinguished_name import escape_value, parse_dn, same_object
from directory.keycredential import decode_key_credential, format_dn_binary, parse_dn_binary


def _rendered(rdns: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    return " , ".join(
        " + ".join(f"{name.upper()} = {escape_value(value)}" for name, value in rdn) for rdn in rdns
    )


def _read_dn(text: str) -> None:
    try:
        rdns = parse_dn(text)
    except ValueError as error:
        assert len(str(error)) < 80
        return
    rendered = _rendered(rdns)
    if len(rendered) <= 4096:
        assert parse_dn(rendered) == rdns, rendered
        if not text.startswith("<"):
            assert same_object(text, rendered)
            assert same_object(rendered, text)
    assert same_object(text, text)


def one(data: bytes) -> None:
    """Read one text as a DN and as a DN-Binary value."""
    text = data.decode("utf-8", "surrogateescape")
    _read_dn(text)
    decode_key_credential(text, owner_dn="CN=alice,CN=Users,DC=lab,DC=test")
    try:
        blob, dn = parse_dn_binary(text)
    except ValueError as error:
        assert len(str(error)) < 80
        return
    assert parse_dn_binary(format_dn_binary(blob, dn)) == (blob, dn)
    _read_dn(dn)
