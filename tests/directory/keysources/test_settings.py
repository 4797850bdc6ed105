"""directory.key_source: the four forms, and what is none of them."""

import pytest

from directory.keysources.settings import KeySourceError, KeySourceSetting


@pytest.mark.parametrize("text", ["local", "ldap-sealed", "keytab:/a/b", "samba:/var/lib/x:y"])
def test_a_form_reads_back(text: str) -> None:
    """What was read is written as it was."""
    assert str(KeySourceSetting.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "keytab", "keytab:", "keytab:a/b", "file:/a", "LOCAL", "samba:/a\0b"]
)
def test_another_form_is_refused(text: str) -> None:
    """An unknown source would leave every account without keys."""
    with pytest.raises(KeySourceError):
        KeySourceSetting.parse(text)
