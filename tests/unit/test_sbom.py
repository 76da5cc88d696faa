"""The bill of materials names what the programs are loaded with, as it is here."""
import hashlib
import json
import os
import pathlib
import re
import subprocess

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = [pathlib.Path(os.environ["TCPDIAG_BIN"]) / name for name in ("tcpdiag", "tcpdiag-namespacer", "tcpdiag-shipper")]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def text():
    return run(ROOT / "tests" / "sbom", *PROGRAMS)


@pytest.fixture(scope="module")
def bill():
    return json.loads(text())


def test_it_is_of_the_form(bill):
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    refs = [one["bom-ref"] for one in bill["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in bill["dependencies"]} == known
    assert all(set(one.get("dependsOn", [])) <= known for one in bill["dependencies"])
    for one in bill["components"]:
        assert one["type"] in ("library", "application") and one["name"] and one["version"]
        assert one["type"] == "application" or re.fullmatch(r"pkg:deb/debian/[a-z0-9.+-]+@[\w.%~-]+\?arch=\w+", one["purl"]), one


def test_cyclonedx_says_that_it_is_one(bill):
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    assert validator.validate_str(json.dumps(bill)) is None
    bad = json.loads(json.dumps(bill))
    bad["components"][0]["type"] = "programme"
    assert validator.validate_str(json.dumps(bad)) is not None


def loaded_with(program):
    """The files of all libraries, by what each asks for and where the system has it: without ldd, which made the bill."""
    known = dict(re.findall(r"^\t(\S+) \(libc6,x86-64[^)]*\) => (\S+)$" if os.uname().machine == "x86_64" else r"^\t(\S+) \(libc6[^)]*\) => (\S+)$",
                            run("/sbin/ldconfig", "-p"), re.M)[::-1])  # the first of a name is the one that is taken
    found, left = set(), [program]
    while left:
        for name in re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "-d", left.pop())):
            file = os.path.realpath(known[name])
            if file not in found:
                found.add(file)
                left.append(file)
    return found


def test_each_library_that_is_loaded_is_in_it_by_the_version_that_debian_has(bill):
    files = set.union(*map(loaded_with, PROGRAMS))
    assert len(files) > 20
    named = {}
    for one in bill["components"]:
        if one["type"] == "library":
            named[next(each["value"] for each in one["properties"] if each["name"] == "tcpdiag:file")] = (one["name"], one["version"])
    assert set(named) == files
    installed = dict(re.findall(r"^Package: (\S+)\nStatus: install ok installed\n(?:.*\n)*?Version: (\S+)$",
                                pathlib.Path("/var/lib/dpkg/status").read_text(), re.M))
    owners = run("dpkg", "-S", *[f"*/{os.path.basename(file)}" for file in files])
    for file, (package, version) in named.items():
        assert re.search(rf"^{re.escape(package)}(:\w+)?: .*/{re.escape(os.path.basename(file))}$", owners, re.M), file
        assert installed[package] == version, file


def test_each_library_that_a_program_asks_for_is_in_it(bill):
    by_ref = {one["bom-ref"]: one for one in bill["components"]}
    for program in PROGRAMS:
        needed = re.findall(r"NEEDED.*\[(.+)\]", subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout)
        depends, = [one["dependsOn"] for one in bill["dependencies"] if one["ref"] == program.name]
        assert len(needed) == len(depends) >= 5
        assert hashlib.sha256(program.read_bytes()).hexdigest() == by_ref[program.name]["hashes"][0]["content"]
    http = [one["name"] for one in bill["components"] if one["name"].startswith("libevent-extra")]
    of_root, = [one["dependsOn"] for one in bill["dependencies"] if one["ref"] == "tcpdiag-namespacer"]
    assert http and not [ref for ref in of_root if "libevent-extra" in ref], "what runs as root has no HTTP"


def test_versions_and_bytes_are_those_that_are_here(bill):
    for one in bill["components"]:
        if one["type"] == "library":
            file = next(each["value"] for each in one["properties"] if each["name"] == "tcpdiag:file")
            assert hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() == one["hashes"][0]["content"]
            shown = subprocess.run(["dpkg-query", "-W", "-f=${Version}\n", one["name"]], check=True, capture_output=True, text=True).stdout.split("\n")
            assert one["version"] in shown


def test_it_is_the_same_again():
    assert text() == text()
