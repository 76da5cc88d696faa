"""pcaps/README.md says which attribute is in which capture, and why one is in none: both are true."""
import collections
import pathlib
import re

import folders
import pcap
import second

HEADER = pathlib.Path("/usr/include/linux/inet_diag.h")


def enumerators():
    """INET_DIAG_* of the kernel's header, by number; it may be older than what is known here."""
    found = re.search(r"INET_DIAG_NONE,(.*?)__INET_DIAG_MAX", HEADER.read_text(encoding="utf-8"), re.DOTALL)
    names = re.findall(r"^\s*INET_DIAG_(\w+),", found[1], re.MULTILINE)
    known = {number: name for number, (name, _) in second.ATTRIBUTES.items()}
    assert all(known.get(number, name) == name for number, name in enumerate(names, 1))
    return dict(enumerate(names, 1)) | known


PARTS = {name: f"{nest} {name.removeprefix(nest + '_')}" for nest in ("TLS", "MPTCP") for name, _ in second.NESTS[nest].values()}


def contents(capture, names):
    """What is in at least one socket of a capture, by the table's names."""
    found = set()
    for _, message in pcap.sock_diag(capture.path.read_bytes()):
        if message.is_socket:
            found |= {names.get(number, f"number {number}") for number, _ in second.attributes(message.payload, pcap.INET_DIAG_MSG)}
            found |= {PARTS[name] for name in second.Socket(message.payload).sent if name in PARTS}
    return found


def test_table_of_attributes():
    names, holding = enumerators(), collections.defaultdict(set)
    for capture in folders.of_kind("capture"):
        if capture.own:
            for name in contents(capture, names):
                holding[name].add(f"{capture.path.parent.name}/{capture.path.stem}")
    text = (folders.OWN / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| attribute \| captures \|\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.+) \|$", table[1], re.MULTILINE))
    assert set(rows) == set(names.values()) | set(PARTS.values()) | set(holding), "rows"
    for name, said in rows.items():
        if name in holding:
            assert set(said.split(", ")) == holding[name], name
        else:
            assert re.fullmatch(r"none: \S.+", said), f"{name} is in no capture, and the table has to say why: {said}"


def test_captures_are_small():
    large = [file.name for file in folders.files() if file.own and file.path.stat().st_size > 1 << 20]
    assert not large, f"larger than 1 MiB: {', '.join(large)}"
