"""A sign-in: who proved who they are, by what, when, for which client. What all tokens rest on."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from tenant.state.moments import from_micros, to_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One proven sign-in of a user. Codes, refresh tokens and PRTs carry it on unchanged."""

    user_id: UUID
    client_id: str
    """Application id of the client that it was made for, in lower case."""
    methods: frozenset[str]
    """RFC 8176 names of what proved the first factor: pwd, rsa (a key of the user)."""
    auth_time: datetime
    """When the first factor was proven."""
    mfa_time: datetime | None = None
    """When a second factor was proven, or a key that counts as two; None: never."""
    device_id: UUID | None = None
    """The device whose key signed the request, too."""

    @property
    def last_proof(self) -> datetime:
        """When the user did something last: the `auth_time` of tokens."""
        return self.auth_time if self.mfa_time is None else max(self.auth_time, self.mfa_time)

    def amr(self, now: datetime, fresh_s: int) -> tuple[str, ...]:
        """Return the `amr` of a token that is made now.

        mfa: a second factor was proven. ngcmfa: it was less than `fresh_s` seconds ago, as a key
        registration demands (MS-KPP 3.1.5.1; seed P1, phase A).
        """
        found = set(self.methods)
        if self.mfa_time is not None:
            found.add("mfa")
            if 0 <= (now - self.mfa_time).total_seconds() < fresh_s:
                found.add("ngcmfa")
        return tuple(sorted(found))


def encode_sign_in(sign_in: SignIn) -> str:
    """Write a sign-in for a table."""
    return json.dumps(
        {
            "user": str(sign_in.user_id),
            "client": sign_in.client_id,
            "methods": sorted(sign_in.methods),
            "auth_time": to_micros(sign_in.auth_time),
            "mfa_time": None if sign_in.mfa_time is None else to_micros(sign_in.mfa_time),
            "device": None if sign_in.device_id is None else str(sign_in.device_id),
        }
    )


def decode_sign_in(text: str) -> SignIn:
    """Read what `encode_sign_in` wrote. Raises DirectoryError(CORRUPT)."""
    try:
        found = json.loads(text)
        return SignIn(
            user_id=UUID(found["user"]),
            client_id=str(found["client"]),
            methods=frozenset(str(name) for name in found["methods"]),
            auth_time=from_micros(int(found["auth_time"])),
            mfa_time=None if found["mfa_time"] is None else from_micros(int(found["mfa_time"])),
            device_id=None if found["device"] is None else UUID(found["device"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DirectoryError(DirectoryFault.CORRUPT, "a stored sign-in cannot be read") from error
