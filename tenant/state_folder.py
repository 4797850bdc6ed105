"""Where a tenant's files are: the state folder and the names of what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tenant.config import TenantConfig, load_config


@dataclass(frozen=True, slots=True)
class TenantFolder:
    """The folder a tenant lives in, and the names of what is in it."""

    root: Path

    @classmethod
    def find(cls, option: str | None, environ: Mapping[str, str]) -> "TenantFolder":
        """Find the folder: the option, else TENANT_STATE, else `./.tenant`."""
        return cls(Path(option or environ.get("TENANT_STATE") or ".tenant"))

    @property
    def tenant_toml(self) -> Path:
        """The configuration."""
        return self.root / "tenant.toml"

    @property
    def database(self) -> Path:
        """Users, devices, keys, tokens (SQLite); mode 0600."""
        return self.root / "tenant.sqlite"

    @property
    def master_key(self) -> Path:
        """The key under which secrets are sealed; mode 0600."""
        return self.root / "master.key"

    @property
    def pki(self) -> Path:
        """The folder of certificates and their keys."""
        return self.root / "pki"

    @property
    def ca_bundle(self) -> Path:
        """The lab CA's certificate (PEM): what clients trust, REQUESTS_CA_BUNDLE."""
        return self.pki / "ca.pem"

    @property
    def tls(self) -> tuple[Path, Path]:
        """The certificate (with what is between it and the lab's CA) and key of HTTPS."""
        return self.pki / "tls.pem", self.pki / "tls.key"

    @property
    def device_ca(self) -> tuple[Path, Path]:
        """The certificate (PEM) and sealed key of the CA of device certificates."""
        return self.pki / "device-ca.pem", self.pki / "device-ca.key"

    @property
    def attestation_roots(self) -> Path:
        """CA certificates (PEM) that lead to attestation keys of TPMs; absent: none is believed."""
        return self.pki / "attestation-roots.pem"

    @property
    def signing_key(self) -> tuple[Path, Path]:
        """The certificate (PEM) and sealed key that tokens are signed with."""
        return self.pki / "signing.pem", self.pki / "signing.key"

    @property
    def cloud_key(self) -> Path:
        """The key of the realm's cloud trust, sealed; absent without one."""
        return self.root / "cloud.key"

    @property
    def audit_log(self) -> Path:
        """The audit records, one JSON line a request; mode 0600."""
        return self.root / "audit.jsonl"

    @property
    def sync_lock(self) -> Path:
        """Locked by the sync run that is under way."""
        return self.root / "sync.lock"

    def load_config(self) -> TenantConfig:
        """Read `tenant.toml`. Raises ConfigError."""
        return load_config(self.tenant_toml)
