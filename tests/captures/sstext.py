"""A parser of what `ss -tinemoO` prints: each socket as its words.

The format is that of iproute2's misc/ss.c, from 4.19 to what is known; a word that nobody here has heard of is kept like the others.
"""
import ipaddress
import re
from dataclasses import dataclass, field

STATES = {"ESTAB": 1, "SYN-SENT": 2, "SYN-RECV": 3, "FIN-WAIT-1": 4, "FIN-WAIT-2": 5, "TIME-WAIT": 6, "UNCONN": 7, "CLOSE-WAIT": 8,
          "LAST-ACK": 9, "LISTEN": 10, "CLOSING": 11}
ANY_STATE = re.compile(r"[A-Z][A-Z0-9-]+")  # UNKNOWN and UNDEF are ss's for what it has no name for; others may come
FLAGS = {"ts", "usec_ts", "sack", "ecn", "ecnseen", "fastopen", "app_limited", "bidir", "zc_ro_tx", "no_pad_rx"}
USER = r'\("(?:[^"\\]|\\.)*",[^()]*\)'
WORDS = re.compile(r"\s*(?:" + "|".join((
    rf"(?P<users>users:\({USER}(?:,{USER})*\))",
    r"(?P<listed>[\w-]+): ?\((?P<list>[^()]*)\)",                       # skmem:(…), timer:(…), bbr:(…), inet-sockopt: (…)
    r"(?P<rate>send|pacing_rate|delivery_rate) (?P<bps>\S+)",
    r"(?P<arrow>[<-]-[->])(?=\s|$)",
    r"(?P<spaced>version|cipher|rxconf|txconf): (?P<after>\S+)",
    r"(?P<key>[\w.-]+):(?P<value>\S+)",
    r"(?P<lone>\S+)",
)) + ")")


class Unreadable(Exception):
    """The text is none of ss's, and why."""


@dataclass
class Line:
    """One socket: its words by name; a flag's value is True."""
    state: int              # the kernel's number; None for a word that is no known state's
    source: tuple           # family, 16 bytes, port
    destination: tuple
    interface: str = None
    words: dict = field(default_factory=dict)
    users: str = None
    text: str = ""

    @property
    def cookie(self):
        return int(self.words["sk"], 16) if "sk" in self.words else None

    @property
    def tuple(self):
        return self.source + self.destination


def address(text):
    """(family, 16 bytes, port, interface)"""
    host, _, port = text.rpartition(":")
    if port != "*" and not port.isdigit():
        raise Unreadable(f"{text!r} has a port that is no number: ss was called without -n")
    host, _, interface = host.partition("%")
    if host == "*":
        # ss's word for :: on a socket that takes IPv4, too.
        packed, family = bytes(16), 10
    else:
        packed = ipaddress.ip_address(host.strip("[]")).packed
        family = 2 if len(packed) == 4 else 10
    return family, packed.ljust(16, b"\0"), 0 if port == "*" else int(port), interface or None


def add(line, name, value):
    if name == "cgroup" and line.words.get(name) == value:
        return  # once by -e, once by --cgroup
    if name in line.words:
        raise Unreadable(f"{name!r} comes twice in {line.text!r}")
    line.words[name] = value


def read_words(line, text):
    for found in WORDS.finditer(text):
        part = found.groupdict()
        if part["users"]:
            line.users = part["users"]
        elif part["listed"]:
            add(line, part["listed"], part["list"])
        elif part["rate"]:
            add(line, part["rate"], part["bps"])
        elif part["arrow"]:
            add(line, "shutdown", part["arrow"])
        elif part["spaced"]:
            add(line, part["spaced"], part["after"])
        elif part["key"]:
            add(line, part["key"], part["value"])
        elif part["lone"] in FLAGS:
            add(line, part["lone"], True)
        elif part["lone"].startswith("tcp-ulp-"):
            add(line, "tcp-ulp", part["lone"].removeprefix("tcp-ulp-"))
        else:
            add(line, "congestion" if "congestion" not in line.words else part["lone"], part["lone"])


def read_line(text):
    words = text.split(None, 5)
    if words and words[0] == "tcp":
        words = text.split(None, 6)[1:]  # a Netid column, when ss was not told -t
    if len(words) < 5 or not ANY_STATE.fullmatch(words[0]) or not (words[1] + words[2]).isdigit():
        raise Unreadable(f"no socket's line: {text[:100]!r}")
    family, source, sport, interface = address(words[3])
    peer, destination, dport, _ = address(words[4])
    if peer != family:
        raise Unreadable(f"two families in {text[:100]!r}")
    line = Line(STATES.get(words[0]), (family, source, sport), (family, destination, dport), interface, text=text)
    line.words = {"rqueue": words[1], "wqueue": words[2]}
    read_words(line, words[5] if len(words) > 5 else "")
    return line


def is_text(data):
    """Whether a file's first bytes are ss's."""
    first = data[:128].split(b"\n")[0].decode("latin-1").split()
    if first[:1] == ["tcp"]:
        del first[0]
    return first[:1] in (["State"], ["Netid"]) or len(first) > 2 and bool(ANY_STATE.fullmatch(first[0])) and (first[1] + first[2]).isdigit()


def read(text):
    """Every socket of a text; without -O one goes on in indented lines."""
    joined = []
    for number, line in enumerate(text.split("\n")):
        if not line.strip() or number == 0 and line.split()[0] in ("State", "Netid"):
            continue
        if line[0] in "\t ":
            if not joined:
                raise Unreadable("it starts within a socket")
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.rstrip())
    return [read_line(line) for line in joined]
