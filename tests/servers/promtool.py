#!/usr/bin/env python3
"""promtool of Debian's package prometheus, which knows the rules of metric names; for the tests.

    promtool.py fetch           put it into the cache

Installing the package would start a server; so only the program is taken out of it.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("TCPDIAG_CACHE", ROOT / "build" / "cache")).absolute()
PROGRAM = CACHE / "bin" / "promtool"
FETCH_TRIES = 4


class Failed(Exception):
    """What went wrong, as one sentence for a person."""


def run(*command, folder):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)


def unpack(folder):
    """The one program of the one package in the folder."""
    package = next(folder.glob("prometheus_*.deb"))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as whole, \
            tarfile.open(fileobj=whole.stdout, mode="r|") as archive:
        for member in archive:
            if member.name == "./usr/bin/promtool":
                with archive.extractfile(member) as source, open(folder / "promtool", "wb") as target:
                    shutil.copyfileobj(source, target)
    (folder / "promtool").chmod(0o755)


def fetch():
    """The program in the cache, whole or not at all."""
    if PROGRAM.exists():
        return PROGRAM
    fresh = CACHE / f"promtool.{os.getpid()}"
    for attempt in range(1, FETCH_TRIES + 1):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        done = run("apt-get", "-q", "download", "prometheus", folder=fresh)
        if done.returncode == 0:
            unpack(fresh)
            PROGRAM.parent.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):  # another run was first
                (fresh / "promtool").rename(PROGRAM)
            shutil.rmtree(fresh, ignore_errors=True)
            return PROGRAM
        print(f"promtool: try {attempt} of {FETCH_TRIES}: {done.stdout.strip()[-300:]}", file=sys.stderr)
        # A fresh container has no lists of packages.
        run("apt-get", "-q", "update", folder=fresh)
        time.sleep(attempt * 2)  # before a registry is asked again
    shutil.rmtree(fresh, ignore_errors=True)
    raise Failed("Debian's package prometheus could not be downloaded: see above")


def main():
    if sys.argv[1:] != ["fetch"]:
        print(__doc__, file=sys.stderr)
        return 64
    try:
        print(fetch())
    except Failed as failed:
        print(f"promtool: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
