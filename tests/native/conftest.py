"""One workshop for all tests of a process: a program that two tests want is built once."""

import pytest

from tests.native.programs import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("native"))
