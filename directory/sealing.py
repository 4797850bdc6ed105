"""The master key and the secrets sealed under it (AES-256-GCM).

Rules
  1. A sealed value is bound to its place: the additional data names what it is and whose, so that
     a row copied over another does not open.
  2. The master key's file belongs to the service user or root and nobody else reads it. Checked
     on the open descriptor, so that nothing is swapped between check and read.
"""

import os
import secrets
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from directory.backend import DirectoryError, DirectoryFault

MASTER_KEY_BYTES = 32
NONCE_BYTES = 12  # random: 2^32 values may be sealed under one key (SP 800-38D 8.3)
TAG_BYTES = 16
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), with LoadCredential=


class SecretFileError(DirectoryError):
    """A file of secrets cannot be used; the three texts are made to be shown to its owner."""

    def __init__(self, kind: DirectoryFault, detail: str, why: str, remedy: str) -> None:
        super().__init__(kind, detail)
        self.why = why
        self.remedy = remedy


def wrong_master_key(store: Path) -> SecretFileError:
    """Make the error for a master key that is not the one a store was sealed under."""
    return SecretFileError(
        DirectoryFault.DENIED,
        f"the master key does not open {store}",
        "this is not the master.key of this store",
        "restore the master.key that was backed up with this store",
    )


def _denied(path: Path, detail: str, why: str, remedy: str) -> NoReturn:
    raise SecretFileError(DirectoryFault.DENIED, f"{path} {detail}", why, remedy)


def read_secret_file(path: Path, limit: int, trusted_paths: Sequence[Path] = ()) -> bytes:
    """Read a file that only the service user or root may read.

    trusted_paths: files, or folders of files, whose mode and owner are not looked at: the
    configuration's trusted_secret_paths. The folder of the service's systemd credentials is exempt
    as well: systemd sets its modes, and they differ between versions.
    Raises SecretFileError: NOT_FOUND, DENIED (mode, owner, not a file), INVALID (over `limit`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SecretFileError(
            DirectoryFault.NOT_FOUND,
            f"there is no {path}",
            "the file is missing",
            f"restore {path.name} from the backup of this folder; no other one fits",
        ) from None
    except OSError as error:
        raise SecretFileError(
            DirectoryFault.DENIED,
            f"{path} cannot be read",
            (error.strerror or "input/output error").lower(),
            "run this as the user that the file belongs to",
        ) from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            _denied(path, "is no regular file", "a secret lies in a file", "check the path")
        if not _is_trusted(path, trusted_paths):
            if info.st_mode & 0o077:
                mode = f"{info.st_mode & 0o777:04o}"
                _denied(
                    path,
                    f"can be used by group or others (mode {mode})",
                    "a secret is for its owner alone",
                    f"chmod 600 {shlex.quote(str(path))}",
                )
            if info.st_uid not in (os.geteuid(), 0):
                _denied(
                    path,
                    "belongs to neither the service user nor root",
                    f"its owner is user {info.st_uid}, and this is user {os.geteuid()}",
                    "run this as its owner, or give it to the service user with chown",
                )
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise SecretFileError(
            DirectoryFault.INVALID,
            f"{path} is too large",
            f"it has more than {limit} bytes",
            f"restore {path.name} from the backup of this folder",
        )
    return data


def _is_trusted(path: Path, trusted_paths: Sequence[Path]) -> bool:
    real = path.resolve()
    credentials = os.environ.get(CREDENTIALS_DIRECTORY, "")
    if os.path.isabs(credentials):
        trusted_paths = (*trusted_paths, Path(credentials))
    return any(real.is_relative_to(trusted.resolve()) for trusted in trusted_paths)


def write_secret_file(path: Path, data: bytes) -> None:
    """Create a file of mode 0600 and return when its bytes are on disk.

    It appears under its name complete or not at all. Raises DirectoryError: EXISTS, DENIED.
    """
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, it never replaces
        finally:
            draft.unlink()
    except FileExistsError:
        raise DirectoryError(DirectoryFault.EXISTS, f"{path} is already there") from None
    except OSError as error:
        raise DirectoryError(
            DirectoryFault.DENIED, f"cannot write {path}: {error.strerror}"
        ) from error
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Return when the name of a new file is on disk, too."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class MasterKey:
    """The key under which a realm's secrets are sealed."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        if len(key) != MASTER_KEY_BYTES:
            raise DirectoryError(DirectoryFault.INVALID, "a master key has 32 octets")
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "MasterKey(***)"

    @classmethod
    def create(cls, path: Path) -> "MasterKey":
        """Make a random master key in a new file of mode 0600. Raises DirectoryError(EXISTS)."""
        key = secrets.token_bytes(MASTER_KEY_BYTES)
        write_secret_file(path, key)
        return cls(key)

    @classmethod
    def load(cls, path: Path, *, trusted_paths: Sequence[Path] = ()) -> "MasterKey":
        """Read the master key after the checks of `read_secret_file`. Raises SecretFileError."""
        key = read_secret_file(path, MASTER_KEY_BYTES, trusted_paths)
        if len(key) != MASTER_KEY_BYTES:
            raise SecretFileError(
                DirectoryFault.INVALID,
                f"{path} does not hold 32 octets",
                f"it has {len(key)}: it is no master key",
                f"restore the {path.name} that was backed up with this store",
            )
        return cls(key)

    def seal(self, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt a secret; aad: what it is and whose. Returns nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, aad)

    def open(self, aad: bytes, blob: bytes) -> bytes:
        """Decrypt what `seal` made with the same aad. Raises DirectoryError(CORRUPT)."""
        if len(blob) >= NONCE_BYTES + TAG_BYTES:
            try:
                return self._aead.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], aad)
            except InvalidTag:
                pass
        raise DirectoryError(DirectoryFault.CORRUPT, "sealed value does not open")

    def open_file(
        self, path: Path, aad: bytes, limit: int, trusted_paths: Sequence[Path] = ()
    ) -> bytes:
        """Read a secret file that holds what `seal` made with the same aad.

        limit: in octets. Raises SecretFileError: as `read_secret_file`, or another master key's.
        """
        sealed = read_secret_file(path, limit, trusted_paths)
        try:
            return self.open(aad, sealed)
        except DirectoryError:
            raise SecretFileError(
                DirectoryFault.DENIED,
                f"the master key does not open {path}",
                "the file is damaged, or sealed under another master.key",
                f"restore {path.name} and master.key from one backup",
            ) from None
