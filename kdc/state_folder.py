"""Where a realm's files are: the state folder and the names of what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdc.config import KdcConfig
from kdc.config_read import LoadedConfig, load_config


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder a realm lives in, and the names of what is in it."""

    root: Path

    @classmethod
    def find(cls, option: str | None, environ: Mapping[str, str]) -> "StateFolder":
        """Find the state folder: the option, else KDC_STATE, else `./.kdc`."""
        return cls(Path(option or environ.get("KDC_STATE") or ".kdc"))

    @property
    def kdc_toml(self) -> Path:
        """The configuration."""
        return self.root / "kdc.toml"

    @property
    def krb5_conf(self) -> Path:
        """The file for clients (MIT and Heimdal)."""
        return self.root / "krb5.conf"

    @property
    def store(self) -> Path:
        """The accounts and their keys (SQLite)."""
        return self.root / "store.sqlite"

    @property
    def master_key(self) -> Path:
        """The key under which secrets are sealed; mode 0600."""
        return self.root / "master.key"

    @property
    def pki(self) -> Path:
        """The folder of the realm's own CA."""
        return self.root / "pki"

    @property
    def ca_certificate(self) -> Path:
        """The CA certificate (PEM): what clients have as their anchor."""
        return self.pki / "ca.pem"

    def ca_key(self, config: KdcConfig | None = None) -> Path:
        """The CA's private key, sealed. `ca_key` of the configuration may put it elsewhere."""
        if config is not None and config.ca_key is not None:
            return self.root / config.ca_key
        return self.pki / "ca.key"

    @property
    def issuing_certificate(self) -> Path:
        """The issuing CA's certificate (PEM), in a realm whose root is offline or foreign."""
        return self.pki / "issuing.pem"

    @property
    def issuer_certificate(self) -> Path:
        """The certificate (PEM) of the CA that issues now, whose key is `ca_key`."""
        issuing = self.issuing_certificate
        return issuing if issuing.exists() else self.ca_certificate

    @property
    def root_key(self) -> Path:
        """The offline root's key, sealed; it is to be put away."""
        return self.pki / "root.key"

    @property
    def root_crl(self) -> Path:
        """The offline root's revocation list: about the issuing CA."""
        return self.crls / "root.crl"

    @property
    def own_trusted_root(self) -> Path:
        """The offline root among the trusted roots."""
        return self.trusted_roots / "realm-root.pem"

    @property
    def ca_ledger(self) -> Path:
        """What the CA has issued and revoked (SQLite)."""
        return self.pki / "ca.sqlite"

    @property
    def ca_lock(self) -> Path:
        """Locked by who publishes a CRL."""
        return self.pki / "ca.lock"

    @property
    def ocsp_responder(self) -> tuple[Path, Path]:
        """The certificate and key that OCSP answers are signed with; the key has mode 0600."""
        return self.pki / "ocsp.pem", self.pki / "ocsp.key"

    @property
    def logon_cas(self) -> Path:
        """The folder of CA certificates that may issue logon certificates."""
        return self.pki / "logon-cas"

    @property
    def own_logon_ca(self) -> Path:
        """The realm's own CA among the logon CAs."""
        return self.logon_cas / "realm-ca.pem"

    @property
    def trusted_roots(self) -> Path:
        """The folder of roots above logon CAs; they issue no logon certificates themselves."""
        return self.pki / "trusted-roots"

    @property
    def crls(self) -> Path:
        """The folder of other CAs' revocation lists."""
        return self.pki / "crls"

    @property
    def ocsp(self) -> Path:
        """The folder of OCSP responses fetched ahead of need."""
        return self.pki / "ocsp"

    @property
    def fetched_responses(self) -> Path:
        """OCSP responses that the companion `revocation` has fetched, in one file."""
        return self.ocsp / "fetched.bundle"

    @property
    def fetched_status(self) -> Path:
        """What the companion `revocation` fetches, from where, and how that went (JSON)."""
        return self.pki / "fetched.json"

    @property
    def crl(self) -> Path:
        """The CA's revocation list."""
        return self.pki / "ca.crl"

    @property
    def kdc_certificate(self) -> Path:
        """The KDC certificate with its intermediates (PEM): the RSA one, or the only one."""
        return self.pki / "kdc.pem"

    @property
    def kdc_key(self) -> Path:
        """The key of `kdc_certificate`; mode 0600."""
        return self.pki / "kdc.key"

    @property
    def kdc_ec_certificate(self) -> Path:
        """The second KDC certificate (EC), when the realm was made with `--kdc-key both`."""
        return self.pki / "kdc-ec.pem"

    @property
    def kdc_ec_key(self) -> Path:
        """The key of `kdc_ec_certificate`; mode 0600."""
        return self.pki / "kdc-ec.key"

    def http_tls(self, config: KdcConfig) -> tuple[Path, Path]:
        """The certificate and key of HTTPS: those of the configuration, else of the realm's CA."""
        certificate, key = self.own_http_tls
        return (
            self.root / config.http_tls_certificate if config.http_tls_certificate else certificate,
            self.root / config.http_tls_key if config.http_tls_key else key,
        )

    @property
    def own_http_tls(self) -> tuple[Path, Path]:
        """The certificate and key of HTTPS that the realm's CA has issued."""
        return self.pki / "http.pem", self.pki / "http.key"

    @property
    def audit_log(self) -> Path:
        """The audit records, one JSON line a request."""
        return self.root / "audit.jsonl"

    @property
    def refusals(self) -> Path:
        """The ring of refused requests that `kdc explain` reads."""
        return self.root / "refusals.jsonl"

    @property
    def replay_map(self) -> Path:
        """The replay memory shared by the workers."""
        return self.root / "replay.map"

    @property
    def retransmit_map(self) -> Path:
        """The retransmit memory shared by the workers."""
        return self.root / "retransmit.map"

    def kdc_certificates(self) -> tuple[tuple[Path, Path], ...]:
        """The (certificate, key) files of the KDC that exist, the RSA one or the only one first."""
        pairs = (
            (self.kdc_certificate, self.kdc_key),
            (self.kdc_ec_certificate, self.kdc_ec_key),
        )
        return tuple((certificate, key) for certificate, key in pairs if certificate.exists())

    def load_config(self) -> LoadedConfig:
        """Read this folder's `kdc.toml`. Raises ConfigError."""
        return load_config(self.kdc_toml)
