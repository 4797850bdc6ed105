"""What the tests of the sign-in share without asking for it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tenant.state import passwords


@pytest.fixture(scope="package", autouse=True)
def a_guess_at_nobodys_password_is_cheap() -> Iterator[None]:
    """A tenth of a second each took a quarter of a minute; `test_users` proves the real cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "NOBODY", replace(passwords.NOBODY, cost=16))
        yield
