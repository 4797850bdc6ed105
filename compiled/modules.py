"""Which modules are compiled: the path of a logon, and what shares classes with it."""

import ast
from pathlib import Path

COMPILED = (
    "pki/*.py",
    "kdc/core.py",
    "kdc/errors.py",
    "kdc/form.py",
    "kdc/outcome.py",
    "kdc/policy.py",
    "kdc/crypto/*.py",
    "kdc/exchange/*.py",
    "kdc/pac/*.py",
    "kdc/trust/*.py",
    "kdc/wire/*.py",
    "kdc/server/alarm.py",
    "kdc/server/audit.py",
    "kdc/cli/explain_judge.py",
    "kdc/server/build.py",
    "kdc/server/connection.py",
    "kdc/server/dispatch.py",
    "kdc/server/framing.py",
    "kdc/server/mapfile.py",
    "kdc/server/relay.py",
    "kdc/server/replay.py",
    "kdc/server/replica_handler.py",
    "kdc/server/reply_budget.py",
    "kdc/server/retransmit.py",
    "kdc/server/row.py",
    "kdc/server/sockets.py",
    "kdc/server/sources.py",
    "directory/alt_security.py",
    "directory/backend.py",
    "directory/distinguished_name.py",
    "directory/keycredential.py",
    "directory/keymaterial.py",
    "directory/lockout.py",
    "directory/model.py",
    "directory/sealing.py",
    "directory/security_descriptor.py",
    "directory/store.py",
    "directory/store_*.py",
    "directory/ldap/replica.py",
    "directory/ldap/status.py",
)

NOT_COMPILED = frozenset(
    {
        # No logon comes here, and compiling costs build time.
        "pki/ca.py",
        "pki/kdc_certificate.py",
        "pki/ocsp_responder.py",
        "pki/templates.py",
        "directory/store_create.py",
        "directory/store_upgrade.py",
    }
)

PACKAGES = ("pki", "directory", "kdc")
"""What mypyc is shown."""
SHIPPED = (*PACKAGES, "tenant")
"""What the wheel holds."""


def compiled_files(root: Path) -> list[str]:
    """List the files to compile, relative to the root of the tree."""
    found = {
        str(path.relative_to(root))
        for pattern in COMPILED
        for path in root.glob(pattern)
        if path.name != "__init__.py"
    }
    return sorted(found - NOT_COMPILED)


def open_classes(root: Path) -> frozenset[str]:
    """Name the classes of compiled modules that interpreted ones make subclasses of."""
    compiled = set(compiled_files(root))
    declared: dict[str, set[str]] = {}
    wanted: set[str] = set()
    for package in SHIPPED:
        for path in (root / package).rglob("*.py"):
            inside = str(path.relative_to(root)) in compiled
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.ClassDef):
                    continue
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if inside:
                    declared[node.name] = bases
                else:
                    wanted |= bases
    found: set[str] = set()
    todo = wanted & declared.keys()
    while todo:
        found |= todo
        todo = {base for name in todo for base in declared[name]} & declared.keys() - found
    return frozenset(found)
