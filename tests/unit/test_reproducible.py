"""The same sources give the same programs, wherever they are built."""
import hashlib
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("tcpdiag", "tcpdiag-namespacer", "tcpdiag-shipper")
SOURCES = ("common", "proto", "seccomp", "collector", "namespacer", "shipper", "cli")


def build(folder, jobs):
    """The programs' sums, of a copy of what they are made of; in an order of its own."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "GNUmakefile", folder)
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MODE")}
    done = subprocess.run(["make", f"-j{jobs}", "all"], cwd=folder, env={**environment, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: hashlib.sha256((folder / "build" / name).read_bytes()).hexdigest() for name in PROGRAMS}


def test_two_folders_give_the_same_bytes(tmp_path):
    """Neither a path, nor the time, nor the order of the work is in them."""
    one = build(tmp_path / "a", 2)
    other = build(tmp_path / "another" / "folder of another length".replace(" ", "-"), 1 + os.cpu_count())
    assert one == other
    text = (tmp_path / "a" / "build" / "tcpdiag-shipper").read_bytes()
    assert str(tmp_path).encode() not in text and str(ROOT).encode() not in text
