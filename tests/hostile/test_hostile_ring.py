"""One end of a ring is a hostile process; the other must see only what ring.h promises."""
import os
import pathlib
import subprocess

import pytest

PEER = pathlib.Path(os.environ["TCPDIAG_BIN"]) / "tests/ring_peer"
ROUNDS = 120


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("side", ["producer", "consumer"])
def test_hostile_ring(side, seed):
    done = subprocess.run([PEER, side, str(seed), str(ROUNDS)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    words = done.stdout.split()
    ended = dict(zip(words[::2], map(int, words[1::2])))
    assert ended["rounds"] == ROUNDS
    assert ended["hostile"] + ended["alive"] == ROUNDS
    # It was a fight: all died of it but those whose attacker told true positions,
    # and not before anything was moved.
    assert ended["alive"] <= ROUNDS // 4
    assert ended["records"] >= ROUNDS
