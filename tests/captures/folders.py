"""The captures that there are, and which text of ss's belongs to which: pcaps/README.md is the promise that is kept here.

A folder is told apart by what its files hold, not by a list of names, so that one from a kernel that nobody here has seen is
tested like the others.
"""
import functools
import os
import pathlib
import re
import struct
from dataclasses import dataclass

import pcap
import second
import sstext

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN = ROOT / "pcaps"
EXTRA = pathlib.Path(os.environ["TCPDIAG_EXTRA_PCAPS"]) if os.environ.get("TCPDIAG_EXTRA_PCAPS") else None
ABOUT = re.compile(r"README.*|uname")  # files about the others
KEPT = 3  # captures that stay decoded
SS_SEQUENCE = 123456  # of ss's own requests
# States that a run of ss does not show, and why.
BOUND = {7, 12, 13}  # CLOSE, which is also the state of BOUND_INACTIVE sockets; NEW_SYN_RECV, BOUND_INACTIVE
HIDDEN = [(set(), None), (BOUND, "this ss does not ask for sockets that are only bound"),
          (BOUND | {3, 6, 10}, "without -a ss shows no socket that listens, waits to be forgotten, is closed or half open")]
KINDS = ("capture", "text", "message", "attribute", "header", "about")


@dataclass(frozen=True)
class File:
    path: pathlib.Path
    own: bool
    kind: str  # of KINDS; or why it is none of these

    @property
    def name(self):
        base = OWN if self.own else EXTRA
        return f"{'pcaps' if self.own else 'extra'}/{self.path.relative_to(base)}"


def kind_of(path):
    data = path.read_bytes()
    if pcap.is_capture(data):
        return "capture"
    if sstext.is_text(data):
        return "text"
    if ABOUT.fullmatch(path.name):
        return "about"
    if len(data) >= 16 and struct.unpack_from("=I", data)[0] == len(data):
        return "message"    # one netlink message
    if len(data) >= 4 and struct.unpack_from("=H", data)[0] == len(data):
        return "attribute"  # one attribute
    if len(data) == 16 and (pcap.COOKED.unpack(data)[1] == pcap.ARPHRD_NETLINK or pcap.NLMSG.unpack(data)[1] in pcap.ANSWERS):
        return "header"     # that before a datagram, or a message's
    return "neither a capture nor what ss printed, nor one message or attribute"


@functools.cache
def files():
    found = []
    for base in (OWN, EXTRA):
        if base:
            found += [File(path, base is OWN, kind_of(path)) for path in sorted(base.rglob("*"))
                      if path.is_file() and not path.name.startswith(".")]
    return found


def of_kind(*kinds):
    return [file for file in files() if file.kind in kinds]


def with_sockets():
    """Captures that hold something; one that is damaged is the matter of test_captures_are_whole."""
    for file in of_kind("capture"):
        try:
            if sockets(file):
                yield file
        except (pcap.Unreadable, second.Malformed):
            continue


@functools.lru_cache(KEPT)
def dumps(file):
    return pcap.dumps(file.path.read_bytes())


@functools.lru_cache(KEPT)
def sockets(file):
    """Every socket message of a capture, in the order of the file, as the second decoder reads it."""
    return [second.Socket(message.payload) for _, message in pcap.sock_diag(file.path.read_bytes()) if message.is_socket]


@functools.cache
def lines(file):
    return sstext.read(file.path.read_text(errors="replace"))


# --- pairing ----------------------------------------------------------------------------

@dataclass
class Candidate:
    """Some dumps of a capture that one run of ss may have shown."""
    capture: File
    places: list            # of their sockets among those of the file
    keys: list
    by_ss: bool             # the answers to ss's own requests: then the text is of this very moment
    note: str               # why some sockets of them are left out


def family(dump):
    return dump.sockets[0].payload[0] if dump.sockets else None


def candidate(file, group, hidden, reason):
    chosen = [message for dump in group for message in dump.sockets if message.payload[1] not in hidden]
    return Candidate(file, [message.place for message in chosen], [second.key(message.payload) for message in chosen],
                     all(dump.request and dump.request.sequence == SS_SEQUENCE for dump in group), reason)


@functools.cache
def candidates(file):
    """Each dump, a dump of IPv4 with that of IPv6 behind it (so asks ss), and all of them; of each also what ss shows of it."""
    try:
        whole = [dump for dump in dumps(file) if dump.sockets]
    except pcap.Unreadable:
        return []  # which test_captures_are_whole tells
    groups = [[dump] for dump in whole]
    groups += [[four, six] for four, six in zip(whole, whole[1:]) if (family(four), family(six)) == (2, 10)]
    if len(whole) > 1 and whole not in groups:
        groups.append(whole)
    return [candidate(file, group, *hidden) for hidden in HIDDEN for group in groups]


def stem(file):
    """What a name says beside the kernel and the kind: "6_10_3_tcp_10_sockets.pcap" and "6_10_3_ss_tcp_info_a_10" both say "10"."""
    words = re.split(r"[._-]+", file.path.name.lower())
    kernel = re.split(r"[._-]+", file.path.parent.name.lower())
    if words[:len(kernel)] == kernel:
        words = words[len(kernel):]
    return tuple(word for word in words if word not in ("pcap", "pcapng", "ss", "txt", "text", "tcp", "info", "a", "sockets"))


@dataclass
class Pair:
    """What a text is compared with; without a candidate, why there is none."""
    text: File
    candidate: Candidate = None
    partial: bool = False   # ss was told to show some sockets only
    reason: str = None
    fatal: bool = False     # the reason is a failure everywhere


def text_keys(file):
    """(cookie, endpoints) of each socket; without ss's -e there is no cookie, and the endpoints have to do."""
    return [(line.cookie, line.tuple) for line in lines(file)]


def without_cookies(keys):
    return [(None, endpoints) for _, endpoints in keys]


def pair(text, differences):
    """The pair of a text; differences(candidate) is how many words differ, to choose among dumps of the same sockets."""
    wanted = text_keys(text)
    cookies = all(cookie is not None for cookie, _ in wanted)
    named, others = [], []
    for capture in of_kind("capture"):
        if capture.path.parent == text.path.parent:
            (named if stem(capture) == stem(text) else others).extend(candidates(capture))

    def common(candidate):
        keys = set(candidate.keys if cookies else without_cookies(candidate.keys))
        return len(keys & set(wanted)), len(keys)

    for some in (named, others):
        same = [one for one in some if common(one) == (len(wanted), len(wanted))]
        # The first ones leave the fewest out.
        same = [one for one in same if one.note == same[0].note]
        if same:
            return Pair(text, min(same, key=differences) if len(same) > 1 else same[0])
    if named:
        best = max(named, key=lambda one: common(one)[0])
        both, ours = common(best)
        told = f"{text.name} shows {len(wanted)} sockets, {best.capture.name} holds {ours} in that dump, and {both} are in both"
        if both * 2 > len(wanted):
            return Pair(text, best, reason=f"{told}: they are of one run, and each has sockets that the other lacks", fatal=True)
        return Pair(text, reason=f"{told}: they are of two runs and say nothing of each other")
    holding = [one for one in others if common(one)[0] == len(wanted)]
    if holding:
        best = min(holding, key=differences)
        return Pair(text, best, partial=True,
                    reason=f"no capture has the name of {text.name}; its {len(wanted)} sockets are among those of {best.capture.name}")
    return Pair(text, reason=f"no capture beside {text.name} holds its {len(wanted)} sockets")
