"""What a command says when it fails: the errors of `kdc`, and what this program adds."""

from directory.backend import DirectoryError, DirectoryFault
from kdc.cli import errors as kdc_errors
from kdc.cli.errors import CliError, ExitCode

_REMEDIES = {
    DirectoryFault.NOT_FOUND: (ExitCode.NOT_FOUND, "check the name; the noun's list shows all"),
    DirectoryFault.CORRUPT: (ExitCode.FAILED, "restore the tenant's folder from a backup"),
}


def explain(error: Exception) -> CliError | None:
    """Turn an error of the lower layers into three lines; None: it is a bug."""
    if type(error) is DirectoryError and error.kind in _REMEDIES:
        code, remedy = _REMEDIES[error.kind]
        return CliError(error.detail or error.kind.value, error.kind.value, remedy, code)
    if isinstance(error, ModuleNotFoundError) and error.name == "joserfc":
        return CliError(
            "the tenant cannot run here",
            "the package joserfc is not installed",
            "install the project with its extra: keytrust-kdc[tenant]",
        )
    return kdc_errors.explain(error)
