"""Programs from elsewhere: fetched into a cache once, whole or not at all, and asked for a few times before it is given up."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("TCPDIAG_CACHE", ROOT / "build" / "cache")).absolute()
TRIES = 4


class Failed(Exception):
    """What went wrong, as one sentence for a person."""


class Again(Exception):
    """What was said; the next try may do."""


def run(*command, **more):
    """Raises Again when it fails."""
    try:
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, **more)
    except FileNotFoundError:
        raise Failed(f"there is no {command[0]}: make test-packages installs it") from None
    if done.returncode != 0:
        raise Again(done.stdout)


def maven(folder, pom, goal, *options):
    """One goal of the plugin that copies artifacts, with a repository of the cache's."""
    (folder / "pom.xml").write_text(pom)
    run("mvn", "-q", "-B", "-ntp", f"-Dmaven.repo.local={CACHE}/m2", "-f", folder / "pom.xml",
        f"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:{goal}", f"-DoutputDirectory={folder}", *options)


def keep(made, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(target)
    except OSError:  # another run was first
        if not target.exists():
            raise


def into_cache(target, whence, get):
    """target, which get(folder) makes somewhere in that folder and returns."""
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{target.name}.") as outer:
            folder = pathlib.Path(outer) / "fetched"
            folder.mkdir()
            try:
                keep(get(folder), target)
                return target
            except Again as said:
                print(f"{target.name}: try {attempt} of {TRIES}: {str(said).strip()[-300:]}", file=sys.stderr)
        time.sleep(attempt * 2)  # before a registry is asked again
    raise Failed(f"{target.name} could not be fetched from {whence}: see above")
