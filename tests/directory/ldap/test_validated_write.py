"""What a computer may write to itself: the validated write of MS-ADTS 3.1.1.5.3.1.1.6 (row K18)."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.keycredential import (
    KeySource,
    NewKeyCredential,
    decode_key_credential,
    encode_key_credential,
)
from directory.keymaterial import MaterialForm
from directory.ldap.write import WritableAccount, check_own_write
from directory.model import AccountKind, Sid
from tests.directory.builders import hello_key

DN = "CN=PC1,CN=Computers,DC=LAB,DC=TEST"
COMPUTER = WritableAccount(
    dn=DN,
    guid=None,
    name="PC1$",
    upn=None,
    sid=Sid.parse("S-1-5-21-1-2-3-1105"),
    kind=AccountKind.COMPUTER,
    credentials=(),
    sealed_keys=None,
    can_seal=False,
)
OWN = NewKeyCredential(
    public_key=hello_key(),
    material=MaterialForm.RSA_PUBLIC_KEY,
    created=datetime(2026, 11, 22, tzinfo=UTC),
)


def _check(account: WritableAccount, new: NewKeyCredential) -> None:
    check_own_write(account, decode_key_credential(encode_key_credential(new, DN), owner_dn=DN))


def test_a_computers_first_key_of_its_own_shape_is_accepted() -> None:
    """The shape that Windows registers for a computer."""
    _check(COMPUTER, OWN)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"custom_key_information": b"\1\2"}, "no CustomKeyInformation"),
        ({"last_logon": datetime(2026, 11, 22, tzinfo=UTC)}, "no time of its last use"),
        ({"source": KeySource.AZURE_AD}, "KeySource AD"),
        ({"source": None}, "KeySource AD"),
    ],
)
def test_another_shape_is_refused(change: dict[str, object], why: str) -> None:
    """Each condition of the section by itself."""
    with pytest.raises(DirectoryError, match=why) as error:
        _check(COMPUTER, replace(OWN, **change))  # type: ignore[arg-type]  # one field each
    assert error.value.kind is DirectoryFault.DENIED


def test_a_second_key_is_refused() -> None:
    """Only where there is no value yet: a stolen account plants no key beside its own."""
    held = decode_key_credential(encode_key_credential(OWN, DN), owner_dn=DN)
    with pytest.raises(DirectoryError, match="no second one"):
        _check(replace(COMPUTER, credentials=(held,)), OWN)


def test_a_user_registers_nothing_for_himself() -> None:
    """The object has class computer: users are registered by who enrols them."""
    with pytest.raises(DirectoryError, match="only a computer"):
        _check(replace(COMPUTER, kind=AccountKind.USER), OWN)


def test_a_key_of_no_use_is_refused() -> None:
    """The value is well formed and its KeyUsage is KEY_USAGE_NGC."""
    with pytest.raises(DirectoryError, match="can be used"):
        check_own_write(COMPUTER, decode_key_credential(f"B:4:CAFE:{DN}", owner_dn=DN))
