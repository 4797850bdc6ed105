"""Names of clients and services in commands that people copy."""

import pytest

from kdc.explain.explanation import _argument_of


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cifs/files.lab.test", "cifs/files.lab.test"),
        ("a b", "'a b'"),
        ("", "SERVICE"),
        (None, "SERVICE"),
        ("--help", "SERVICE"),
        ("x;reboot", "'x;reboot'"),
        ("x\ny", "SERVICE"),
        ("ä", "SERVICE"),
        ("x" * 65, "SERVICE"),
    ],
)
def test_name_is_one_argument_or_none(name: object, shown: str) -> None:
    """What a client sent is quoted, or not shown at all."""
    assert _argument_of(name, "SERVICE") == shown
