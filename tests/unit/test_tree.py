"""What the tree promises of itself: documents that say every key and field, borders between folders, limits, sound units."""

import hashlib
import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["TCPDIAG_BIN"])
PAGES = sorted((ROOT / "man").glob("*.[1-9]"))
SERVICES = sorted((ROOT / "units").glob("*.service"))


def rows(table, macro):
    """The arguments of each MACRO(…) line of a .def file, without quotes."""
    for line in (ROOT / "common" / table).read_text().splitlines():
        if line.startswith(f"{macro}(") and line.endswith(")"):
            yield [field.strip().strip('"') for field in re.split(r", (?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", line[len(macro) + 1:-1])]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def make(*words):
    """make as a person calls it, whatever called this test."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MODE")}
    return subprocess.run(["make", *words], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_page_is_sound(page):
    lint = run("mandoc", "-Tlint", "-Wwarning", str(page))
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_every_key_is_documented_as_it_is():
    page = (ROOT / "man" / "tcpdiag.conf.5").read_text()
    documented = dict(re.findall(r"^\.It Ic ([a-z0-9.-]+) Pq (.+)$", page, re.MULTILINE))
    expected = {}
    for kind, _, name, standard, *_, programs, _ in rows("config.def", "KEY"):
        expected[name] = (", ".join(programs), standard if kind not in ("LIST", "STRING", "PROPERTIES") or standard else None)
    assert sorted(documented) == sorted(expected)
    for name, (programs, standard) in expected.items():
        assert documented[name].startswith(programs), name
        said = re.search(r"default (\S+)$", documented[name])
        assert (said[1] if said else None) == standard, name


def test_every_bound_of_a_key_is_documented():
    """What the programs refuse is what the page says: the message names the bounds in the same way."""
    page = (ROOT / "man" / "tcpdiag.conf.5").read_text()
    letters = {"N": "tcpdiag-namespacer", "S": "tcpdiag-shipper"}
    for kind, _, name, *_, programs, _ in rows("config.def", "KEY"):
        if kind not in ("DURATION", "SIZE", "COUNT"):
            continue
        value = {"DURATION": "5000000h", "SIZE": "10000000GiB", "COUNT": "18446744073709551615"}[kind]
        refused = run(str(BIN / letters[programs[0]]), f"--{name}={value}")
        assert refused.returncode == 64, name
        least, most = re.search(r"it can be (\S+) to (\S+)$", refused.stderr.strip()).groups()
        assert re.search(rf"^\.It Ic {name} Pq .*\b{least} to {most}; default", page, re.MULTILINE), (name, least, most)


def test_every_field_is_documented_as_it_is():
    page = (ROOT / "man" / "tcpdiag-record.7").read_text()
    words = {"STRING": "string", "ADDRESS": "address", "BYTES": "bytes", "U32": "uint32", "U64": "uint64", "I64": "int64", "STATE": "state"}
    documented = re.findall(r"^\.It Va (\w+) Pq (\d+), (\w+)\n\S", page, re.MULTILINE)
    assert documented == [(name, number, words.get(kind, "enum")) for number, name, kind, *_ in rows("record.def", "FIELD")]


def test_the_fields_that_others_rely_on_stay():
    """Names, numbers and types of the flat record that tables and dashboards exist for."""
    schema = (ROOT / "proto" / "xtcp_flat_record.proto").read_text().split("message XtcpFlatRecord")[1]
    fields = re.findall(r"^  ([\w.]+) (\w+) = (\d+);", schema, re.MULTILINE)
    lines = [f"{number} {name} {kind}\n" for kind, name, number in fields if int(number) < 900 or 1000 <= int(number) < 2200]
    assert len(lines) == 156
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == "e654709f4f756c9a03a29fe72cccb4deecfc381b27db6b53f25f3b05379af199"


def test_every_decoder_is_documented():
    page = (ROOT / "man" / "tcpdiag.conf.5").read_text()
    said = page[page.index(".It Ic decoders"):page.index(".Ss What becomes of it")]
    documented = [name for line in re.findall(r"^\.It Cm (.+)$", said, re.MULTILINE) for name in line.split(" , ")]
    sets = {row[-1] for kind in ("ATTRIBUTE", "NEST") for row in rows("attribute.def", kind)}
    assert sorted(documented) == sorted({"default", "all", "none", *sets})


def test_metrics_page_is_what_the_table_says():
    made = run(os.path.join(os.environ["TCPDIAG_BUILD"], "man", "metrics"))
    assert made.returncode == 0
    assert made.stdout == (ROOT / "man" / "tcpdiag-metrics.7").read_text(), "make metrics-page writes it anew"


def test_what_runs_as_root_has_no_http():
    """evhttp and libcurl are the shipper's, and so is what reads XML; the namespacer is not even linked with them."""
    needed = {name: run("readelf", "-d", str(BIN / name)).stdout for name in ("tcpdiag-namespacer", "tcpdiag-shipper")}
    assert "libevent_core" in needed["tcpdiag-namespacer"] and "libevent_extra" not in needed["tcpdiag-namespacer"]
    for name in ("libevent_extra", "libcurl", "libexpat"):
        assert name in needed["tcpdiag-shipper"] and name not in needed["tcpdiag-namespacer"]


def test_every_exit_code_is_documented():
    codes = re.findall(r"EXIT_CODE_\w+ = (\d+)", (ROOT / "common" / "exit.h").read_text())
    page = (ROOT / "man" / "tcpdiag.1").read_text()
    documented = page[page.index(".Sh EXIT STATUS"):page.index(".Sh EXAMPLES")]
    assert re.findall(r"^\.It (\d+)$", documented, re.MULTILINE) == codes


def test_every_sink_and_format_is_documented():
    page = (ROOT / "man" / "tcpdiag.conf.5").read_text()
    for path in [*(ROOT / "shipper").glob("format_*.c"), *(ROOT / "shipper").glob("sink_*.c")]:
        for name in re.findall(r'^\t\.name = "(\w+)"', path.read_text(), re.MULTILINE):
            assert re.search(rf"^\.Cm (.* )?{name}\b", page, re.MULTILINE), name


def includes(folder):
    for path in [*(ROOT / folder).glob("*.c"), *(ROOT / folder).glob("*.h")]:
        for included in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            yield path.relative_to(ROOT).as_posix(), included


def test_the_three_parts_include_nothing_of_each_other():
    parts = ("collector", "namespacer", "shipper")
    foreign = {(by, what) for part in parts for by, what in includes(part) if what.split("/")[0] in parts and not what.startswith(part)}
    # The child's function: the one thing that the namespacer knows of a collector.
    assert len(foreign) <= 1, foreign
    for by, what in foreign:
        assert by.startswith("namespacer/") and what == "collector/collector.h"
    declared = re.sub(r"/\*.*?\*/", "", (ROOT / "collector" / "collector.h").read_text(), flags=re.DOTALL)
    assert len(re.findall(r"^[\w ].*\(.*\)[^;{]*;", declared, re.MULTILINE)) == 1


def test_common_and_seccomp_include_nothing_of_the_parts():
    for folder in ("common", "seccomp"):
        for by, what in includes(folder):
            assert "/" not in what or what.split("/")[0] in ("common", "seccomp"), by


def test_what_runs_as_root_can_be_read_in_a_day():
    """Of the release program: other modes keep lines that it does not have."""
    assert make("build/tcpdiag-namespacer").returncode == 0
    counted = run("tests/lines", "build/tcpdiag-namespacer", "--limit", "total=4000", "--limit", "namespacer=1500",
                  "--limit", "collector=1500")
    assert counted.returncode == 0, counted.stderr + counted.stdout
    lines = {name: int(code) for code, _, name in map(str.split, counted.stdout.splitlines())}
    # A count that misses a folder would pass for ever.
    assert all(lines[folder] > 50 for folder in ("namespacer", "collector", "common", "seccomp"))


def test_sources_keep_to_the_style():
    """What a tool can see of style(9): the rest is for readers."""
    wrong = [
        (r"[ \t]+$", "white space at the end of a line"),
        (r"^ {8}", "eight spaces for a tab"),
        (r"^\t{0,2} {1,3}[^ *]", "an indentation that is neither tabs nor four spaces"),
        (r"\b(if|for|while|switch)\(", "no space behind a keyword"),
        (r"\b(if|for|while|switch) \(.*\)\{$", "no space before a brace"),
        (r"^(?!#|\s|/|typedef|\}).*\) \{$", "a function's brace on its first line"),
        (r"^\s*//", "a comment of another language"),
        (r"^.{141,}", "a line of more than 140 characters"),
    ]
    for path in [*ROOT.glob("*/*.[ch]"), *ROOT.glob("tests/*/*.[ch]")]:
        text = path.read_text()
        assert text.startswith("/*"), f"{path.relative_to(ROOT)}: does not say what it is"
        assert text.endswith("\n") and not text.endswith("\n\n"), f"{path.relative_to(ROOT)}: its end"
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in wrong:
                assert not re.search(pattern, line), f"{path.relative_to(ROOT)}:{number}: {what}"


def test_no_function_is_longer_than_a_hundred_lines():
    for path in ROOT.glob("*/*.c"):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                assert number - start < 100, f"{path.name}:{start}"
                start = None


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.stem)
def test_unit_is_sound(service, tmp_path):
    """systemd reads it without a complaint; the program's place is what `make install` gives it."""
    unit = tmp_path / service.name
    unit.write_text(service.read_text().replace("/usr/sbin/", f"{BIN}/"))
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("service, exposure", [("tcpdiag-namespacer", 25), ("tcpdiag-shipper", 12)])
def test_unit_exposes_little(service, exposure):
    """systemd's score, in tenths: 1.2 for what has no privilege, 2.5 for what must be root."""
    scored = run("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={exposure}",
                 str(ROOT / "units" / f"{service}.service"))
    assert scored.returncode == 0, scored.stdout.splitlines()[-1]


def unset(service):
    """What systemd-analyze would have more of: {its name: the words that a reason for it has to hold}."""
    listed = json.loads(run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--json=short", str(service)).stdout)
    for name in [entry["name"] for entry in listed if entry["set"] is False]:
        keys, _, value = name.partition("=~")
        stem, _, choices = value.rstrip(")").partition("(")
        yield name, [stem + choice for choice in choices.split("|")] if value else re.findall(r"\w+=", keys)[:1]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.stem)
def test_what_a_unit_does_not_close_has_its_reason_there(service):
    comments = "\n".join(line for line in service.read_text().splitlines() if line.startswith("#"))
    missing = [(name, word) for name, words in unset(service) for word in words if not re.search(rf"(?<!\w){word}(?!\w)", comments)]
    assert not missing and dict(unset(service))


def test_units_end_for_good_where_another_try_would_not_help():
    for service in SERVICES:
        assert "\nRestartPreventExitStatus=64 77 78\n" in service.read_text()


def test_namespacer_unit_gives_what_the_program_asks_for():
    """The start-up check names a line for the unit: it is the one that the unit has."""
    unit = (ROOT / "units" / "tcpdiag-namespacer.service").read_text()
    given = set(re.search(r"^CapabilityBoundingSet=(.+)$", unit, re.MULTILINE)[1].split())
    asked = set(re.findall(r'\{ CAP_\w+, "(CAP_\w+)"', (ROOT / "namespacer" / "privilege.c").read_text()))
    assert given == asked


def test_example_configuration_is_right():
    for program in ("tcpdiag-namespacer", "tcpdiag-shipper"):
        checked = run(str(BIN / program), "--check-config", "--config", str(ROOT / "units" / "tcpdiag.conf"))
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("page", ["README.md", "man/tcpdiag.conf.5"])
def test_example_in_a_document_is_right(page, tmp_path):
    text = (ROOT / page).read_text()
    example = re.search(r"^interval = 1m\n(?:.+ = .+\n)+", text, re.MULTILINE)[0]
    conf = tmp_path / "tcpdiag.conf"
    conf.write_text(example)
    for program in ("tcpdiag-namespacer", "tcpdiag-shipper"):
        checked = run(str(BIN / program), "--check-config", "--config", str(conf))
        assert (checked.returncode, checked.stderr) == (0, "")


def test_install_puts_everything_in_place(tmp_path):
    installed = make("install", f"MODE={os.environ['TCPDIAG_MODE']}", f"DESTDIR={tmp_path}", "PREFIX=/opt/tcpdiag")
    assert installed.returncode == 0, installed.stderr
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "etc/tcpdiag/tcpdiag.conf",
        "opt/tcpdiag/bin/tcpdiag",
        "opt/tcpdiag/sbin/tcpdiag-namespacer",
        "opt/tcpdiag/sbin/tcpdiag-shipper",
        "opt/tcpdiag/lib/modules-load.d/tcpdiag.conf",
        "opt/tcpdiag/lib/sysusers.d/tcpdiag.conf",
        "opt/tcpdiag/lib/systemd/system/tcpdiag-namespacer.service",
        "opt/tcpdiag/lib/systemd/system/tcpdiag-shipper.service",
        *(f"opt/tcpdiag/share/man/man{page.suffix[1:]}/{page.name}" for page in PAGES),
    }
    unit = (tmp_path / "opt/tcpdiag/lib/systemd/system/tcpdiag-shipper.service").read_text()
    assert "ExecStart=/opt/tcpdiag/sbin/tcpdiag-shipper" in unit


def test_make_help_lists_every_target_for_people():
    text = (ROOT / "GNUmakefile").read_text()
    listed = make("help").stdout
    for target in ("all", "run", "test", "check", "bench", "install", "clean", "help"):
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target
        assert re.search(rf"^{target}:", text, re.MULTILINE)


def test_no_two_modules_of_tests_have_one_name():
    """All folders are searched in one run: the second of a name would never be found."""
    names = [path.name for path in (ROOT / "tests").glob("*/*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_every_test_that_the_security_page_names_exists():
    """Each sentence of the list has a test, and each test that it names is one."""
    page = (ROOT / "man" / "tcpdiag-security.7").read_text()
    part = page[page.index(".Ss How each sentence is tested"):page.index(".Ss What is not known from outside")]
    sentences = part.split("\n.It ")[1:]
    assert len(sentences) > 15
    for sentence in sentences:
        named = re.findall(r"^\.Li (tests/\S+)::(\w+)( ,)?$", sentence, re.MULTILINE)
        assert named, sentence
        for path, name, _ in named:
            start = rf"^def {name}\(" if path.endswith(".py") else rf"^{name}\("
            assert re.search(start, (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"
