"""What a folder of captures holds: the attributes in each, and what its kernel lacks.

As a program: rewrites the tables of pcaps/README.md that say so.
"""

import collections
import pathlib
import re
import struct
import sys

import pcap

ROOT = pathlib.Path(__file__).resolve().parents[2]
# INET_DIAG_* of linux/inet_diag.h, INET_ULP_INFO_* there, TLS_INFO_* of linux/tls.h, MPTCP_SUBFLOW_ATTR_* of linux/mptcp.h.
ATTRIBUTES = ("MEMINFO INFO VEGASINFO CONG TOS TCLASS SKMEMINFO SHUTDOWN DCTCPINFO PROTOCOL SKV6ONLY LOCALS PEERS PAD MARK BBRINFO CLASS_ID "
              "MD5SIG ULP_INFO SK_BPF_STORAGES CGROUP_ID SOCKOPT").split()
ULP = "ULP_NAME TLS MPTCP".split()
PARTS = {
    "TLS": "VERSION CIPHER TXCONF RXCONF ZC_RO_TX RX_NO_PAD TX_MAX_PAYLOAD_LEN".split(),
    "MPTCP": "TOKEN_REM TOKEN_LOC RELWRITE_SEQ MAP_SEQ MAP_SFSEQ SSN_OFFSET MAP_DATALEN FLAGS ID_REM ID_LOC".split(),
}
ROWS = [*ATTRIBUTES, *(f"{ulp} {part}" for ulp, parts in PARTS.items() for part in parts)]
NLA_TYPE_MASK = 0x3fff
COOKIE = 44  # its offset in inet_diag_msg

# Why no capture holds it.
REASONS = {
    "LOCALS": "of SCTP sockets only",
    "PEERS": "of SCTP sockets only",
    "PAD": "no data: it only aligns 64-bit attributes, of which a TCP socket has none at this level",
    "SK_BPF_STORAGES": "given only to who asks for the storage of a BPF program by its map; tcpdiag loads none and never asks",
    "TLS ZC_RO_TX": "the kernel tells it of TLS that a network card does (TLS_HW), which no virtual machine's card does",
}


def cookie(message):
    return struct.unpack_from("=Q", message.payload, COOKIE)[0]


def name_of(names, number):
    return names[number - 1] if 0 < number <= len(names) else f"number {number}"


def attributes(data):
    """(number, bytes) of each attribute."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            raise pcap.Unreadable(f"an attribute of {length} bytes")
        yield kind & NLA_TYPE_MASK, data[at + 4:at + length]
        at += length + 3 & ~3


def ulp_names(value):
    for number, part in attributes(value):
        ulp = name_of(ULP, number)
        if ulp in PARTS:
            yield from (f"{ulp} {name_of(PARTS[ulp], inner)}" for inner, _ in attributes(part))


def names(message):
    """The attributes of a socket, and the parts of ULP_INFO."""
    for number, value in attributes(message.payload[pcap.INET_DIAG_MSG:]):
        name = name_of(ATTRIBUTES, number)
        yield name
        if name == "ULP_INFO":
            yield from ulp_names(value)


def held(capture):
    """Everything that is in at least one socket of a capture."""
    return {name for _, message in pcap.sock_diag(capture.read_bytes()) if message.is_socket for name in names(message)}


def lacks(folder):
    """{feature: why} as the folder's README has it."""
    return dict(re.findall(r"^lacks (\w+): (.*)$", (folder / "README").read_text(encoding="utf-8"), re.MULTILINE))


def version(path):
    return [int(number) for number in re.findall(r"\d+", path.name)]


def folders():
    return sorted((path for path in (ROOT / "pcaps").iterdir() if path.is_dir()), key=version)


def attributes_table():
    """An attribute, and the captures that hold it, or why none does."""
    holding = collections.defaultdict(list)
    for folder in folders():
        for capture in sorted(folder.glob("*.pcap")):
            for name in held(capture):
                holding[name].append(f"{folder.name}/{capture.stem}")
    for row in [*ROWS, *sorted(holding.keys() - ROWS)]:
        if row not in holding and row not in REASONS:
            sys.exit(f"contents: no capture holds {row}: record a kernel that has it, or write the reason into REASONS")
        yield f"| {row} | {', '.join(holding[row]) if row in holding else 'none: ' + REASONS[row]} |"


def kernels_table():
    """A folder, what made it, and what its kernel lacks."""
    for folder in folders():
        first = (folder / "README").read_text(encoding="utf-8").splitlines()[0]
        yield f"| {folder.name} | {first} | {'; '.join(f'{what} ({why})' for what, why in lacks(folder).items())} |"


def rewrite(text, head, lines):
    """The text with these lines under the head of a table."""
    return re.sub(rf"^({re.escape(head)}\n\|[ |-]*\n)(?:\|.*\n)*", lambda found: found[1] + "".join(line + "\n" for line in lines), text,
                  flags=re.MULTILINE)


def main():
    readme = ROOT / "pcaps" / "README.md"
    text = rewrite(readme.read_text(encoding="utf-8"), "| attribute | captures |", attributes_table())
    readme.write_text(rewrite(text, "| folder | what | lacks |", kernels_table()), encoding="utf-8")


if __name__ == "__main__":
    main()
