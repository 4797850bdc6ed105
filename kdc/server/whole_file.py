"""A file written whole or not at all, also when the machine loses its power."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, replace: bool = True, mode: int = 0o600) -> None:
    """Put a file into its place with all that is in it.

    replace: False: FileExistsError when there is one already. mode: its access rights from the
    first moment it can be seen. Raises OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)
            os.unlink(name)
        # The name as well as the content is to survive a lost power supply.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
