"""What ss printed, against what we decode: socket by socket and word by word.

Two witnesses: the texts beside the captures, and the ss of this machine, which reads the messages of any capture from a file.
"""
import functools
import os
import re
import socket
import subprocess
import warnings

import pytest

import comparison
import folders
import pcap
import render
import sstext
import tcpdiag


class Witness(UserWarning):
    """What was not compared, and why."""


def records(file):
    return tcpdiag.records(file.path)


def some(candidate):
    everyone = records(candidate.capture)
    return [everyone[place] for place in candidate.places]


@functools.cache
def pair(text):
    """The pair of a text, chosen by the second decoder, so that our own cannot choose what suits it."""
    lines = folders.lines(text)

    def differences(candidate):
        everyone = folders.sockets(candidate.capture)
        chosen = [everyone[place].record() for place in candidate.places]
        return len(comparison.compare(chosen, lines, candidate.by_ss, partial=True)[0])
    return folders.pair(text, differences)


@pytest.mark.parametrize("text", folders.of_kind("text"), ids=lambda file: file.name)
def test_text(text):
    """Every socket and every word that ss printed is ours, and every socket and word of ours is in what ss printed."""
    found = pair(text)
    if found.reason:
        assert not found.fatal and not text.own, found.reason
        warnings.warn(Witness(found.reason))
    if found.candidate is None:
        return
    lines = folders.lines(text)
    chosen = some(found.candidate)
    wrong, notes = comparison.compare(chosen, lines, found.candidate.by_ss, found.partial)
    for note in sorted(notes.notes | ({found.candidate.note} - {None})):
        print(f"{text.name}: {note}")
    assert not wrong, f"{found.candidate.capture.name}: {len(wrong)} differences:\n" + "\n".join(wrong[:20])
    if text.own:
        ours = set().union(*(render.words(record) for record in chosen))
        lacking = [option for option in comparison.TOLD if option in notes.untold and ours & comparison.OPTIONS[option][1]]
        assert not lacking, f"ss was not told {', '.join(sorted(lacking))}, but pcaps/README.md asks for it"
        assert not notes.unheard, f"words of ss that this test has to learn: {', '.join(sorted(notes.unheard))}"
    elif notes.unheard:
        warnings.warn(Witness(f"{text.name}: words of ss that are not compared, since nobody told this test of them: "
                              f"{', '.join(sorted(notes.unheard))}"))


def test_own_captures_have_their_texts():
    """NAME.pcap has its NAME.ss beside it, and that is the text which is compared with it."""
    texts = {file.path: file for file in folders.of_kind("text") if file.own}
    own = [file for file in folders.of_kind("capture") if file.own]
    assert own, "pcaps/ holds no capture"
    for capture in own:
        text = texts.pop(capture.path.with_suffix(".ss"), None)
        assert text, f"{capture.name} has no text of ss's beside it, NAME.ss"
        assert pair(text).candidate.capture == capture
    assert not texts, f"texts without their captures: {', '.join(file.name for file in texts.values())}"


# --- this machine's ss ----------------------------------------------------------------------

SS = ["ss", "-tinemoOH", "--tos", "--inet-sockopt"]


def local_cgroup(text, number):
    """ss looked the number up on this machine, where it is most often nobody's."""
    if text.startswith("unreachable:"):
        return text
    mounts = [line.split()[1] for line in open("/proc/mounts", encoding="utf-8") if line.split()[2] == "cgroup2"]
    assert any(os.path.exists(mount + text) and os.stat(mount + text).st_ino == number for mount in mounts), f"{text} is not {number:x}"
    return f"unreachable:{number:x}"


def local_interface(line, index):
    """And so with interfaces."""
    try:
        name = socket.if_indextoname(index) if index else None
    except OSError:
        name = f"if{index}"
    assert line.interface == name
    line.interface = None


@pytest.mark.parametrize("capture", list(folders.with_sockets()), ids=lambda file: file.name)
def test_ss_reads_the_capture(capture, tmp_path):
    """The same bytes, shown by ss: nothing moves, so every word is the same to the last digit."""
    path = tmp_path / "messages"
    messages = [message for _, message in pcap.sock_diag(capture.path.read_bytes()) if message.is_socket]
    path.write_bytes(b"".join(message.whole + bytes(-len(message.whole) % 4) for message in messages) + pcap.message(pcap.DONE, bytes(4)))
    shown = subprocess.run(SS, env=dict(os.environ, TCPDIAG_FILE=str(path)), capture_output=True, check=True, timeout=120)
    # ss 6.1 prints TCP-MD5 keys, which are zeros here, at once, and all the rest at the end.
    lines = sstext.read(re.sub(r"^(\\000)+", "", shown.stdout.decode(errors="replace")))
    ours = records(capture)
    assert len(lines) == len(ours)
    wrong, text = [], comparison.Text(lines)
    for record, line in zip(ours, lines):
        assert (line.cookie, line.tuple) == (record["inet_diag_msg_socket_cookie"], render.endpoints(record))
        record = dict(record)
        local_interface(line, record.pop("inet_diag_msg_socket_interface"))
        record["inet_diag_msg_socket_interface"] = 0
        if "cgroup" in line.words:
            line.words["cgroup"] = local_cgroup(line.words["cgroup"], record["c_group"])
        wrong += [(*difference, line.text[:100]) for difference in comparison.differences(record, line, text)]
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(map(str, wrong[:20]))
    if text.unheard:
        warnings.warn(Witness(f"words of this machine's ss that are not compared: {', '.join(sorted(text.unheard))}"))


# --- the witness itself ------------------------------------------------------------------------

# What no word of ss's tells; the second decoder sees these.
NOT_SHOWN = {
    "tcp_info_state": "it is inet_diag_msg_state's, which is shown",
    "tcp_info_length": "made of the message's length",
    "attributes_present": "made of which attributes came",
    "congestion_algorithm_enum": "made of congestion_algorithm_string, which is shown",
    "protocol": "TCP's, or there would be no record",
    "tcp_info_tail": "what no ss knows",
    **dict.fromkeys(("mem_info_rmem", "mem_info_wmem", "mem_info_fmem", "mem_info_tmem"), "ss prefers skmem, which says the same"),
    **dict.fromkeys((f"tcp_info_{name}" for name in ("ca_state", "retransmits", "probes", "last_ack_sent", "fast_open_client_failed",
                     "total_rto", "total_rto_recoveries", "total_rto_time")), "ss takes no notice of it"),
    **dict.fromkeys((f"tcp_info_{name}" for name in ("received_ce", "delivered_e1_bytes", "delivered_e0_bytes", "delivered_ce_bytes",
                     "received_e1_bytes", "received_e0_bytes", "received_ce_bytes", "accecn")), "accurate ECN, which no ss knows yet"),
    **dict.fromkeys(("vegas_info_rtt_cnt", "vegas_info_min_rtt"), "ss takes only enabled and rtt of Vegas, for the rate behind send"),
    **dict.fromkeys(("mptcp_relwrite_seq", "tls_tx_max_payload_len"), "ss takes no notice of it"),
}
FLAGS = {"tls_zc_ro_tx", "tls_rx_no_pad"}  # there or not: their value says nothing
LINES = 4  # of each text


def changes(value):
    """Other values, of which at least one is shown otherwise where any is."""
    if isinstance(value, bytes):
        return [value[:-1] + bytes([value[-1] ^ 1]), bytes([value[0] ^ 1]) + value[1:]] if value else []
    if isinstance(value, str):
        return [value + "x"]
    return [value + 1, value ^ 0x7f00, 0 if value else 1]


def signature(record, line, text):
    """What the witness says of a record."""
    text.cgroups.clear()
    text.interfaces.clear()
    return comparison.key(record), sorted(map(repr, comparison.differences(record, line, text)))


def of_many_kinds(lines):
    """Some sockets that differ in what is shown of them."""
    found = {}
    for line in lines:
        found.setdefault(frozenset(line.words), line)
    return sorted(found.values(), key=lambda line: -len(line.words))[:LINES]


def test_witness_sees_every_field():
    """A field that is wrong in any way is seen, but for those of which ss says nothing."""
    seen, noticed, late = set(), set(), set(render.PLAIN)
    for text in folders.of_kind("text"):
        found = pair(text)
        if found.candidate is None:
            continue
        everyone = folders.sockets(found.candidate.capture)
        ours = {everyone[place].key: everyone[place].record() for place in found.candidate.places}
        shown = comparison.Text(folders.lines(text))
        late &= shown.late
        for line in of_many_kinds(shown.lines):
            record = ours.get((line.cookie, line.tuple))
            if record is None:
                continue
            before = signature(record, line, shown)
            seen |= record.keys()
            for name in record.keys() - noticed:
                others = [record | {name: value} for value in changes(record[name])]
                if name in FLAGS:
                    others = [{other: value for other, value in record.items() if other != name}]
                if any(signature(other, line, shown) != before for other in others):
                    noticed.add(name)
    assert seen - noticed == (NOT_SHOWN.keys() | {f"tcp_info_{render.PLAIN[word]}" for word in late}) & seen


def test_witness_sees_every_word():
    """A word of a text that is another or is not there is seen, and so is a socket that only one of both has."""
    for text in folders.of_kind("text"):
        found = pair(text)
        if found.candidate is None:
            continue
        everyone = folders.sockets(found.candidate.capture)
        ours = {everyone[place].key: everyone[place].record() for place in found.candidate.places}
        shown = comparison.Text(folders.lines(text))
        for line in of_many_kinds(shown.lines):
            record, words = ours[line.cookie, line.tuple], dict(line.words)
            before = signature(record, line, shown)
            for word in words.keys() - {"cgroup"}:
                for wrong in ({}, {word: f"1{words[word]}"}):
                    line.words = {**{name: value for name, value in words.items() if name != word}, **wrong}
                    assert signature(record, line, shown) != before, f"{text.name}: {word} {wrong}: {line.text}"
            line.words = words
        some = list(ours.values())[:4]
        lines = [line for line in shown.lines if (line.cookie, line.tuple) in map(comparison.key, some)]
        assert any("does not show" in why for why in comparison.compare(some, lines[1:], by_ss=False)[0])
        assert any(why.startswith("missing") for why in comparison.compare(some[1:], lines, by_ss=False)[0])
