"""Fixtures of the core's tests: one store made a run, one KDC on a copy of it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kdc.builders import Kdc, make_template, running_kdc


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the realm's store once."""
    folder = tmp_path_factory.mktemp("template")
    make_template(folder)
    return folder


@pytest.fixture
def kdc(template: Path, tmp_path: Path) -> Iterator[Kdc]:
    """Run a KDC of default configuration for one test."""
    with running_kdc(template, tmp_path) as running:
        yield running
