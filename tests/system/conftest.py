"""Fixtures of the system tests: they need root, and say so once."""
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

import harness
import topics
import witness

TIMEOUT = 120  # seconds that one test may take before it counts as hung


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout(seconds): how long a test may take")
    if os.geteuid() != 0:
        raise pytest.UsageError("the system tests make network namespaces: run them as root")
    for program in ("tcpdiag", "tcpdiag-namespacer", "tcpdiag-shipper", "tests/holder"):
        if not (harness.BIN / program).exists():
            raise pytest.UsageError(f"{harness.BIN / program} is not built: make test-programs")
    harness.become_subreaper()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Ends a hung test itself where pytest-timeout is not installed."""
    if item.config.pluginmanager.hasplugin("timeout"):
        yield
        return
    mark = item.get_closest_marker("timeout")
    seconds = (mark.args[0] if mark else TIMEOUT) * harness.PATIENCE

    def hung(_signal, _frame):
        raise AssertionError(f"the test has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT * harness.PATIENCE))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the programs wrote stands beside the failure."""
    outcome = yield
    report = outcome.get_result()
    for fixture in getattr(item, "funcargs", {}).values() if report.failed else ():
        if hasattr(fixture, "sections"):
            report.sections.extend((name, text[-8000:]) for name, text in fixture.sections())


@pytest.fixture(scope="session")
def base():
    """A folder that the unprivileged processes can reach."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{harness.RUN}-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def broker(base):
    """A Kafka broker that all tests share."""
    with topics.Broker(base / "kafka") as one:
        yield one


@pytest.fixture
def folder(base):
    """This test's own, writable for everybody."""
    path = base / harness.unique("f")
    path.mkdir()
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def clean():
    """After each test nothing is left that it had started."""
    before = harness.descendants(os.getpid())
    mounts = witness.namespace_mounts()
    yield
    harness.reap(harness.children())
    left = harness.descendants(os.getpid()) - before
    assert not left, f"processes left behind: {[harness.title(pid) for pid in left]}"
    assert not {m for m in witness.namespace_mounts() - mounts if harness.RUN in m}, "mounts left behind"


@pytest.fixture
def world(clean, folder):
    """Network namespaces."""
    made = harness.World()
    yield made
    made.end()


@pytest.fixture
def tcpdiag(world, folder):
    """The programs; they end before the namespaces do."""
    programs = harness.Tcpdiag(folder)
    yield programs
    programs.kill()
