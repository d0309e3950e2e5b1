"""Options shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Tests run side by side; one thread each keeps them fast and their sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A GPU cannot be installed; data sets and an aarch64 system come over a network; a Python is no other Python.
EXPECTED_SKIPS = ("CUDA", "not fetched", "SSMITH_ROOT_TESTS", "Python 3.12", "executorch goes first")


@pytest.fixture(scope="session")
def library_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile into a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fail-on-skip",
        action="store_true",
        help="fail when a test is skipped for a reason that an install could mend",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    outcome = yield
    report = outcome.get_result()
    if not (report.skipped and item.config.getoption("--fail-on-skip")) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(word in reason for word in EXPECTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"unexpected skip: {reason}"
