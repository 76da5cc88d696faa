"""The ring's two ends and an attacker at the same time, under ThreadSanitizer."""
import os
import pathlib
import subprocess

import pytest

RACES = {"tsan": "build/tsan/tests/race", "as-it-is-built": f"{os.environ['TCPDIAG_BIN']}/tests/race"}
SECONDS = 4


@pytest.mark.parametrize("build", RACES)
def test_race(build):
    """Nothing that the honest ends share is read while it is written, and no wake-up is lost."""
    # Without address randomization: older sanitizers do not know where a newer kernel maps.
    done = subprocess.run(["setarch", "-R", pathlib.Path(RACES[build]).resolve(), str(SECONDS)], capture_output=True, text=True, check=False, timeout=200,
                          env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"})
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.split()
    assert words[::2] == ["honest", "bytes", "producer", "consumer"]
    # False positions make honest ends race: the sanitizer is not asked about those.
    assert [int(rounds) > 0 for rounds in words[1::2]] == [True, True, build != "tsan", build != "tsan"], words


def test_the_sanitizer_is_there():
    """A build without it would find nothing, for ever."""
    symbols = subprocess.run(["nm", "-C", RACES["tsan"]], capture_output=True, text=True, check=True).stdout
    assert "__tsan_write1" in symbols and "ring_publish" in symbols
