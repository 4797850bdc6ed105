"""Hatchling's hook: with KEYTRUST_COMPILED=1 a wheel holds the compiled form; else it is pure."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledForm(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is hatchling's own
    """Adds the extension modules that mypyc makes of the source to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless this is an installation in place, which shows the source as it is."""
        if os.environ.get("KEYTRUST_COMPILED") != "1" or version != "standard":
            return
        self._made = tempfile.TemporaryDirectory(prefix="keytrust-compiled-")
        folder = Path(self._made.name)
        environment = {**os.environ, "PYTHONPATH": self.root, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(  # noqa: S603  this interpreter, on this tree
            [sys.executable, "-m", "compiled.build", self.root, str(folder)],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        build_data["force_include"].update(json.loads((folder / "wheel.json").read_text("utf-8")))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        made = getattr(self, "_made", None)
        if made is not None:
            made.cleanup()
