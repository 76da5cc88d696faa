"""Order of the tests of captures."""
import pathlib

HERE = pathlib.Path(__file__).parent


def capture_of(item):
    """What a test is run for; "" for those that are run once."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters["capture"].name if "capture" in parameters else ""


def pytest_collection_modifyitems(items):
    """All tests of one capture behind each other, so that it is decoded once and need not be kept."""
    ours = [item for item in items if HERE in item.path.parents]
    others = [item for item in items if HERE not in item.path.parents]
    items[:] = others + sorted(ours, key=capture_of)
