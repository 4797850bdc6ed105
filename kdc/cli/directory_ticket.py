"""The follower's logon to the directory with a ticket: SASL GSSAPI from a credential cache.

The cache is kept fresh from outside, with `kinit -k` from a timer for instance; it is read anew for
each connection. Where it holds a TGT only, the service's ticket is asked of this KDC.
"""

from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.connection import SaslClient
from directory.ldap.session import SaslFactory
from directory.ldap.settings import LdapUrl
from directory.sealing import read_secret_file
from kdc.cli.directory_access import gssapi_client
from kdc.cli.errors import CliError
from kdc.config import KdcConfig
from kdc.formats.ccache import MAX_FILE_BYTES, CcacheError, decode_ccache
from kdc.server.companion import CompanionContext
from kdc.server.follower import run_follower


def sasl_of(config: KdcConfig, root: Path) -> SaslFactory | None:
    """Return what makes the mechanism for a server; None unless directory.sasl is "gssapi".

    root: what a path in the configuration is relative to.
    """
    if config.directory_sasl != "gssapi" or config.directory_ccache is None:
        return None
    path = root / config.directory_ccache
    trusted = tuple(Path(p) for p in config.trusted_secret_paths)

    def make(url: LdapUrl) -> SaslClient:
        try:
            cache = decode_ccache(read_secret_file(path, MAX_FILE_BYTES, trusted))
            return gssapi_client(config, root, url, cache)
        except CcacheError as error:
            raise DirectoryError(
                DirectoryFault.DENIED, f"{path} is no credential cache: {error}"
            ) from None
        except CliError as error:
            raise DirectoryError(DirectoryFault.DENIED, f"{error.what}: {error.why}") from None

    return make


def run(context: CompanionContext) -> None:
    """Run the follower; see `kdc.server.follower`. Here, since only the command line may use both
    the server's code and the client's.
    """
    run_follower(context, sasl_of)
