#!/usr/bin/env python3
"""promtool of Debian's package prometheus, which knows the rules of metric names; for the tests.

    promtool.py fetch           put it into the cache

Installing the package would start a server; so only the program is taken out of it.
"""
import shutil
import subprocess
import sys
import tarfile

import fetching
from server_process import program


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


def get(folder):
    try:
        fetching.run("apt-get", "-q", "download", "prometheus", cwd=folder)
    except fetching.Again:
        # A fresh container has no lists of packages.
        fetching.run("apt-get", "-q", "update", cwd=folder)
        fetching.run("apt-get", "-q", "download", "prometheus", cwd=folder)
    unpack(folder)
    return folder / "promtool"


def fetch():
    return fetching.into_cache(fetching.CACHE / "bin" / "promtool", "Debian (package prometheus)", get)


def main(words):
    if words != ["fetch"]:
        print(__doc__, file=sys.stderr)
        return 64
    print(fetch())
    return 0


if __name__ == "__main__":
    program("promtool", main)
