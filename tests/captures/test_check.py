"""What `make captures` says of recordings: that ours are as they have to be, and that spoilt ones are not."""
import importlib.machinery
import importlib.util
import pathlib
import re
import shutil
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "tests" / "captures" / "check"
FOLDERS = sorted(path for path in (ROOT / "pcaps").iterdir() if path.is_dir())
KEY = "a-key"

loader = importlib.machinery.SourceFileLoader("check", str(CHECK))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
loader.exec_module(check)


def wrong(folder):
    done = subprocess.run([CHECK, "--key", KEY, folder], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_ours(folder):
    assert wrong(folder) == ""


def test_every_scenario_is_recorded_and_described():
    recorded = set(re.findall(r"^scenario_(\w+)\(\)", (CHECK.parent / "record").read_text(), re.MULTILINE))
    described = set(re.findall(r"^\| (\w+) \| ", (ROOT / "pcaps" / "README.md").read_text().split("## Scenarios")[1].split("## ")[0], re.MULTILINE))
    assert recorded == set(check.SCENARIOS) == described - {"NAME"}


def cut(data):
    return data[:-10]


def without_end(data):
    """The last packet, which is the dump's end, is left out."""
    at, last = 24, None
    while at < len(data):
        last, at = at, at + 16 + struct.unpack_from("<I", data, at + 8)[0]
    return data[:last]


def line_out(data):
    return data.split(b"\n", 1)[1]


@pytest.mark.parametrize("file, spoil, why", [
    ("states.pcap", cut, "cannot be read"),
    ("states.pcap", without_end, "has no end"),
    ("states.pcap", lambda data: data[:24], "holds no socket"),
    ("states.ss", line_out, "or they are others"),
    ("states.ss", lambda data: data.replace(b"CLOSING", b"ESTAB"), "lacks '^CLOSING '"),
    ("options.ss", lambda data: data.replace(b"192.0.2.1", b"10.0.0.1"), "has the address 10.0.0.1"),
    ("md5.ss", lambda data: data.replace(b"=removed", b"=" + KEY.encode()), "holds the TCP-MD5 key"),
    ("md5.pcap", lambda data: data + KEY.encode(), "holds the TCP-MD5 key"),
    ("many.ss", lambda data: data + bytes(1 << 20), "is larger than"),
    ("README", lambda data: data + b"lacks tls: said so\n", "tls.pcap is of no scenario"),
    ("tls.ss", None, "there is no tls.ss"),
])
def test_spoilt(file, spoil, why, tmp_path):
    folder = tmp_path / "7.3"
    shutil.copytree(ROOT / "pcaps" / "7.3", folder)
    if spoil is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(spoil((folder / file).read_bytes()))
    assert why in wrong(folder)
