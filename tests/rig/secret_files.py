"""Files that hold secrets of the tests: from the first octet on nobody else can read them."""

from pathlib import Path


def write_secret(path: Path, content: str | bytes) -> Path:
    """Write a file that its owner alone may read, and return its path."""
    path.touch(mode=0o600)
    path.chmod(0o600)  # one that was there keeps its mode
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
