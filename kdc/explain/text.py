"""Client-controlled values as text that is inert in a terminal, and short."""

MAX_TEXT_CHARS = 120
"""Of one value in a tree; longer than any name that leads to an account."""


def escape(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    r"""Escape what is not printable and cut to `limit` characters, marking the cut.

    Controls, bidi overrides and octets that were no UTF-8 become \xNN, \uNNNN or \UNNNNNNNN and
    a backslash \\, so that the original can be told from its escape.
    """
    shown: list[str] = []
    length = 0
    for character in text[: limit + 1]:
        piece = escaped_character(character)
        length += len(piece)
        if length > limit:
            shown.append("...")
            break
        shown.append(piece)
    return "".join(shown)


def escaped_character(character: str) -> str:
    """Return a character, or its escape when it is not printable; see `escape`."""
    if character == "\\":
        return r"\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # surrogateescape: the octet that was no UTF-8, as it arrived.
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """Escape a string and put it between quotes."""
    return f'"{escape(text)}"'


def count(number: int, noun: str) -> str:
    """Write `1 octet`, `2 octets`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    """Write a length of time in its two largest units: `1h 5m`, `12m 3s`, `0.4s`."""
    whole = int(seconds)
    if seconds < 10 and seconds != whole:
        return f"{seconds:.1f}s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if whole >= size:
            parts.append(f"{whole // size}{unit}")
            whole %= size
    return " ".join(parts[:2]) or "0s"
