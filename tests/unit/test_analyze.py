"""What analyzers say of the sources, but for what is explained.  `make analyze` has clang-tidy look deeper, which takes minutes."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BAD = """#include <stdlib.h>
int main(void) { char *one = malloc(2), *other = 0; if (one == 0) return *other; free(one); free(one); int a[2]; return a[2]; }
"""


def analyze(*words):
    return subprocess.run([ROOT / "tests" / "analyze", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", ["gcc", "cppcheck", "clang-tidy"])
def test_it_has_nothing_to_say(tool):
    done = analyze(tool)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("tool", ["gcc", "cppcheck", "clang-tidy"])
def test_it_would_say_it(tool, tmp_path):
    source = tmp_path / "bad.c"
    source.write_text(BAD)
    done = analyze(tool, "--", str(source))
    assert done.returncode == 1 and "bad.c:2" in done.stdout, done.stdout + done.stderr


def test_each_suppression_has_its_reason():
    lines = (ROOT / "tests" / "cppcheck.suppressions").read_text().splitlines()
    for before, line in zip(lines, lines[1:]):
        if line and not line.startswith("#"):
            assert before, f"{line}: no reason stands before it"
    lines = (ROOT / ".clang-tidy").read_text().splitlines()
    off = [n for n, line in enumerate(lines) if re.match("  - -[a-z]", line)]
    assert len(off) > 10 and all(lines[n - 1].startswith("  # ") or n - 1 in off for n in off)
    for reason in re.findall(r'^    \("\S+", [A-Z]+\): "(.*)",$', (ROOT / "tests" / "analyze").read_text(), re.M):
        assert len(reason.split()) > 4
