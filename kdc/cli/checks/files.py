"""The state folder: what is in it, who may read it, and the disk it is on."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import MasterKey, read_secret_file
from kdc.cli.checks.finding import Finding, Patient, fail, ok, warn
from kdc.cli.state import MAX_PEM_BYTES
from kdc.state_folder import StateFolder

MIB = 1 << 20
FREE_FAIL_BYTES = 64 * MIB  # some 150,000 audit records
FREE_WARN_BYTES = 1024 * MIB


def check_folder(folder: StateFolder) -> Iterator[Finding]:
    """Look at the folder itself; nothing else can be said when it is missing."""
    root = folder.root
    if not root.is_dir():
        yield fail(
            "state.folder",
            f"there is no state folder {root}",
            "kdc init --realm REALM makes one; --state DIR names another",
        )
        return
    for path in (root, folder.pki):
        if not path.is_dir():
            yield fail("state.folder", f"{path} is missing", "restore it from a backup")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o022:
            yield fail(
                "state.folder",
                f"others can replace what is in {path} (mode {mode:04o})",
                f"chmod 700 {path}",
            )
        elif mode & 0o055:
            yield warn(
                "state.folder",
                f"others can look into {path} (mode {mode:04o})",
                f"chmod 700 {path}",
            )
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield fail(
                "state.folder",
                f"{path} cannot be written by uid {os.geteuid()}",
                f"run it as the service's user, uid {path.stat().st_uid}",
            )
        else:
            yield ok("state.folder", f"{path} is there and private")


def check_secrets(patient: Patient) -> Iterator[Finding]:
    """Judge each secret file as the server does (row S06), and open the master key."""
    folder, config = patient.folder, patient.config
    secrets = [folder.master_key, *(key for _, key in folder.kdc_certificates())]
    ca_key = folder.ca_key(config)
    if ca_key.exists():
        secrets.append(ca_key)
    else:
        yield ok("state.secrets", f"the CA's key is kept elsewhere ({ca_key} is not there)")
    good = []
    for path in secrets:
        try:
            read_secret_file(path, MAX_PEM_BYTES, patient.trusted_paths)
            good.append(path.name)
        except DirectoryError as error:
            yield fail("state.secrets", error.detail or str(error), _fix(path, error))
    if good:
        yield ok("state.secrets", f"only their owner can read {', '.join(good)}")
    try:
        MasterKey.load(folder.master_key, trusted_paths=patient.trusted_paths)
    except DirectoryError as error:
        if error.kind is DirectoryFault.INVALID:
            yield fail(
                "state.master_key",
                error.detail,
                "restore it from a backup: without it no key of the realm can be opened",
            )


def _fix(path: Path, error: DirectoryError) -> str:
    if error.kind is DirectoryFault.NOT_FOUND:
        return "restore it from a backup: kdc serve does not start without it"
    try:
        info = path.stat()
    except OSError:
        return f"check who may read {path}"
    if info.st_uid not in (os.geteuid(), 0):
        return f"run this as the service's user, or: chown USER {path}"
    return f"chmod 600 {path}"


def check_private_files(folder: StateFolder) -> Iterator[Finding]:
    """Look at files that hold no open secret but are nobody else's business."""
    store = folder.store
    stems = (store.name, f"{store.stem}-lockout{store.suffix}")
    names = [store.with_name(stem + end) for stem in stems for end in ("", "-wal", "-shm")]
    names += [folder.audit_log, folder.replay_map, folder.retransmit_map, folder.kdc_toml]
    open_ones = [
        path for path in names if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    for path in open_ones:
        yield warn("state.modes", f"others can use {path}", f"chmod 600 {path}")
    if not open_ones:
        yield ok("state.modes", "store, audit log, memories and configuration are private")


def check_memories(folder: StateFolder, *, running: bool) -> Iterator[Finding]:
    """Look at the files by which workers know replays and retransmissions."""
    for path in (folder.replay_map, folder.retransmit_map):
        aside = path.with_name(path.name + ".corrupt")
        if aside.exists():
            yield warn(
                "state.memories",
                f"{path.name} was damaged once and made anew",
                f"look into the disk's health and the log, then: rm {aside}",
            )
        if path.exists():
            continue
        if running:
            yield fail(
                "state.memories",
                f"{path} was removed under the running server: after the next restart it "
                "knows no replays",
                "restart the server",
            )
        else:
            yield ok("state.memories", f"{path.name} will be made at the first start")
            continue
    if folder.replay_map.exists() and folder.retransmit_map.exists():
        yield ok("state.memories", "the memories of replays and retransmissions are there")


def check_disk(patient: Patient) -> Iterator[Finding]:
    """See whether the audit log can go on growing (row S03)."""
    root = patient.folder.root
    info = os.statvfs(root)
    free = info.f_bavail * info.f_frsize
    refuse = patient.config.audit_failure == "refuse"
    then = "logons are refused" if refuse else "audit records are lost"
    log = patient.folder.audit_log
    size = log.stat().st_size if log.exists() else 0
    shown = f"{free // MIB} MiB free for the audit log ({size // MIB} MiB so far)"
    fix = "rotate the audit log (rename it, then SIGHUP), or enlarge the disk"
    if free < FREE_FAIL_BYTES:
        yield fail("state.disk", f"only {shown}; when it is full, {then}", fix)
    elif free < FREE_WARN_BYTES:
        yield warn("state.disk", f"{shown}; when it is full, {then}", fix)
    elif info.f_files and info.f_favail < 100:
        yield fail("state.disk", f"{root} is on a file system without free inodes", fix)
    else:
        yield ok("state.disk", shown)


def check_krb5_conf(folder: StateFolder) -> Iterator[Finding]:
    """See whether the file for clients still points to files that are there."""
    path = folder.krb5_conf
    try:
        text = path.read_text(errors="replace")
    except OSError:
        yield warn(
            "state.krb5_conf",
            f"there is no readable {path}",
            "only clients that were pointed to it mind; kdc init writes it in another folder",
        )
        return
    named = dict.fromkeys(re.findall(r"FILE:(\S+)", text))
    missing = [name for name in named if not Path(name).exists()]
    if missing:
        yield warn(
            "state.krb5_conf",
            f"{path} names {missing[0]}, which is not there",
            f"put {folder.ca_certificate.resolve()} in its place",
        )
    else:
        yield ok("state.krb5_conf", f"{path} names files that are there")
