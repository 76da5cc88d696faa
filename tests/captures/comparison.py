"""Whether records say what ss printed: socket by socket, word by word, in both directions.

Nothing is left out but what stands in a table here, with the reason beside it.
"""
import ipaddress
import re
import socket
from dataclasses import dataclass, field

import render
import sstext

# --- what a text need not have ---------------------------------------------------------------

# ss shows these only when told so; a word that each socket has then says whether it was told.
OPTIONS = {
    "-e": ("sk", {"uid", "ino", "sk", "fwmark", "cgroup", "v6only", "shutdown"}),
    "-m": ("skmem", {"skmem", "mem"}),
    "-i": ("cwnd", {"congestion", "wscale", "rto", "rtt", "ssthresh", "app_limited", "retrans", "sacked", "reordering", "minrtt",
                    "dctcp", "bbr", "send", "pacing_rate", "delivery_rate", "busy", "rwnd_limited", "sndbuf_limited", "md5keys",
                    "tcp-ulp", "version", "cipher", "rxconf", "txconf", "zc_ro_tx", "no_pad_rx", "flags", "token", "seq", "sfseq",
                    "ssnoff", "maplen", *render.PLAIN, *render.TIMES}),
    "-o": ("timer", {"timer", *render.OPTIONS}),
    "--tos": ("tos", {"tos", "tclass", "class_id"}),
    "--inet-sockopt": ("inet-sockopt", {"inet-sockopt"}),
}
ALWAYS = {"rqueue", "wqueue"}
KNOWN = ALWAYS.union(*(words for _, words in OPTIONS.values()))
# What the issue's `ss -tinemoO` shows: in our own captures no text may lack it.
TOLD = ("-e", "-m", "-i", "-o")

# ss learnt these words late.  A text without any word of a version or of a later one is taken for an older ss's.
LEARNT = [
    ("4.20", {"bytes_sent", "bytes_retrans", "dsack_dups", "reord_seen"}),
    ("5.4", {"tcp-ulp", "version", "cipher", "rxconf", "txconf", "flags", "token", "seq", "sfseq", "ssnoff", "maplen"}),
    ("5.5", {"rcv_ooopack", "snd_wnd"}),
    ("5.9", {"cgroup"}),
    ("6.0", {"zc_ro_tx", "no_pad_rx"}),
    ("6.7", {"rcv_wnd", "rehash"}),
    ("6.8", {"usec_ts"}),
]

# What goes on while nobody does anything, where a text is of another moment than its capture (never when ss's own answers were
# captured).  All clocks of a socket have to agree on one gap, to SLACK ms, and no gap is longer than GAP_MAX: a dump takes its
# time, so that each socket has a gap of its own.
CLOCKS = {"lastsnd", "lastrcv", "lastack", "timer"}
GROWS = {"busy", "rwnd_limited", "sndbuf_limited"}  # by the gap at most, in a socket that has something to send
GAP_MAX, SLACK = 10000, 20


@dataclass
class Text:
    """What is to be known of a whole text before its sockets can be compared."""
    lines: list
    shown: set = field(default_factory=lambda: set(ALWAYS))  # words that this ss would have shown
    late: set = field(default_factory=set)      # words that it had not learnt
    untold: set = field(default_factory=set)    # options that it was not called with
    unheard: set = field(default_factory=set)   # words of its that nobody told this test of
    notes: set = field(default_factory=set)
    forms: dict = field(default_factory=dict)   # what ss has changed since: whether it is the newer way
    cgroups: dict = field(default_factory=dict)
    interfaces: dict = field(default_factory=dict)

    def __post_init__(self):
        seen = set().union(*(line.words for line in self.lines))
        for option, (sign, words) in OPTIONS.items():
            if seen & (words if option == "-o" else {sign}):
                self.shown |= words
            else:
                self.untold.add(option)
                self.notes.add(f"ss was not told {option}, and shows nothing of {', '.join(sorted(words))}")
        for _, words in reversed(LEARNT):
            if seen & words:
                break
            self.late |= words & self.shown
        self.shown -= self.late


def same_cgroup(text, number, where):
    """ss shows a path for the number, which only its own host could look up: one path is one number throughout a text."""
    if text.startswith("unreachable:"):
        return text == f"unreachable:{number:x}"
    return where.setdefault(("path", text), number) == number and where.setdefault(("number", number), text) == text


def same_interface(name, index, where):
    """A name for the index, which only ss's own host could look up: one name is one index throughout a text, and lo is 1."""
    if name is None or not index:
        return name is None and not index
    if name == "lo" or index == 1:
        return (name, index) == ("lo", 1)
    return where.setdefault(("name", name), index) == index and where.setdefault(("index", index), name) == name


def md5keys(text):
    """The first peer and how many there are: a capture holds no key, a text might."""
    return f"{text.partition('=')[0]} of {text.count('=')}" if text else text


def unheard(word, shown, record):
    """A word that this test has not heard of is the record's field of the same name, where there is one."""
    for name in (f"tcp_info_{word}", word, f"mptcp_{word}", f"tls_{word}"):
        if name in record and shown is not True and re.fullmatch(r"\d+", shown):
            return str(record[name])
    return None


def right_form(word, record, older, shown, forms):
    """ss has changed how it prints some words: a text has to keep to one way."""
    change, newer = render.newer(word, record)
    if change is None or older == newer:
        return older
    return newer if forms.setdefault(change, shown == newer) else older


def differences(record, line, text):
    """[(word, ours, ss's)] of a socket."""
    ours, shown, found = render.words(record), dict(line.words), []
    if record["inet_diag_msg_state"] != line.state and (line.state or record["inet_diag_msg_state"] in sstext.STATES.values()):
        found.append(("state", record["inet_diag_msg_state"], line.state))
    if not same_interface(line.interface, record["inet_diag_msg_socket_interface"], text.interfaces):
        found.append(("interface", record["inet_diag_msg_socket_interface"], line.interface))
    if "md5keys" in shown:
        shown["md5keys"] = md5keys(shown["md5keys"])
    if "cgroup" in shown and "cgroup" in ours and same_cgroup(shown["cgroup"], ours["cgroup"], text.cgroups):
        shown["cgroup"] = ours["cgroup"]
    for word in shown.keys() & ours.keys():
        ours[word] = right_form(word, record, ours[word], shown[word], text.forms)
    for word in shown.keys() - KNOWN:
        ours[word] = unheard(word, shown[word], record)
        if ours[word] is None:
            text.unheard.add(word)
            ours[word] = shown[word]
    for word in ours.keys() | shown.keys():
        if ours.get(word) != shown.get(word) and (word in shown or word in text.shown):
            found.append((word, ours.get(word), shown.get(word)))
    for word in ours.keys() & text.late:
        text.notes.add(f"this ss is too old to show {word}")
    return found


# --- a whole text ---------------------------------------------------------------------------

def milliseconds(text):
    """(least, most) that ss's print_ms_timer() shows so."""
    found = re.fullmatch(r"(?:(\d+)min)?(?:(\d+)(?:sec|\.))?(?:(\d+)(?:ms|sec))?", text)
    minutes, seconds, rest = (int(part or 0) for part in found.groups())
    least = minutes * 60000 + seconds * 1000 + rest
    if minutes > 9:
        return least, least + 59999
    return least, least + (999 if minutes or seconds > 9 else 0)


def gap_of(word, ours, shown):
    """(least, most) ms by which the text is later than the capture, as this clock says; None if it says something else."""
    if word != "timer":
        return 2 * (int(shown or 0) - int(ours or 0),)
    if not ours or not shown:
        return None
    (name, left, tries), (shown_name, shown_left, shown_tries) = ours.split(","), shown.split(",")
    if (name, tries) != (shown_name, shown_tries):
        return None
    (least, most), (shown_least, shown_most) = milliseconds(left), milliseconds(shown_left)
    return least - shown_most, most - shown_least


def moved(found, record):
    """(what is more than the passing of time, the gap in ms), of the differences [(word, ours, shown)] of one socket."""
    gaps = [gap_of(*one) for one in found if one[0] in CLOCKS]
    if None in gaps:
        return found, 0
    least, most = max((gap[0] for gap in gaps), default=-GAP_MAX), min((gap[1] for gap in gaps), default=GAP_MAX)
    if least - most > SLACK or max(abs(least), abs(most)) > GAP_MAX:
        return found, 0
    wrong = [one for one in found if one[0] not in CLOCKS and not (one[0] in GROWS and can_grow(record) and grew(one, least, most))]
    return wrong, (least + most) // 2 if gaps else 0


def grew(one, least, most):
    """Whether a time grew by no more than the gap, or shrank by no more when ss came first."""
    had, has = (int(re.match(r"\d*", text or "").group() or 0) for text in one[1:])
    return min(least, 0) - SLACK <= has - had <= max(most, 0) + SLACK


def can_grow(record):
    """Whether a socket has something to send, so that it is busy."""
    return any(record.get(name) for name in ("tcp_info_unacked", "tcp_info_not_sent_bytes", "inet_diag_msg_wqueue"))


def key(record):
    return record["inet_diag_msg_socket_cookie"], render.endpoints(record)


def compare(records, lines, by_ss, partial=False):
    """(what is wrong, the Text): that a text and records say the same of the same sockets."""
    text = Text(lines)
    cookies = all(line.cookie is not None for line in lines)
    ours = {}
    wrong = []
    for record in records:
        cookie, endpoints = key(record)
        cookie = cookie if cookies else None
        if (cookie, endpoints) in ours:
            wrong.append(f"{describe(record)} comes twice")
        ours[cookie, endpoints] = record
    gaps = set()
    for line in lines:
        record = ours.pop((line.cookie, line.tuple), None)
        if record is None:
            wrong.append(f"missing: {line.text[:160]}")
            continue
        found = differences(record, line, text)
        if found and not by_ss:
            found, gap = moved(found, record)
            gaps.add(gap)
        wrong += [f"{word} is {mine!r}, ss: {theirs!r}, of {line.text[:120]}" for word, mine, theirs in found]
    if not partial:
        wrong += [f"ss does not show {describe(record)}" for record in ours.values()]
    if gaps:
        text.notes.add(f"the text is {min(gaps)} to {max(gaps)} ms later than the capture, as the sockets' clocks say")
    return wrong, text


def describe(record):
    family = record["inet_diag_msg_family"]
    hosts = (socket.inet_ntop(family, record["inet_diag_msg_socket_" + which][:4 if family == 2 else 16])
             for which in ("source", "destination"))
    source, destination = hosts
    return (f"{source} {record['inet_diag_msg_socket_source_port']} {destination} {record['inet_diag_msg_socket_destination_port']} "
            f"state {record['inet_diag_msg_state']} cookie {record['inet_diag_msg_socket_cookie']:x}")
