"""What ss(8) says of a namespace, and whether our records say the same.

ss asks the kernel by itself; nothing here knows how tcpdiag reads.
"""
import os
import pathlib
import re
import subprocess

from harness import wait_for

SS = ["ss", "-tinemoaOH", "--tos"]
CONGESTION = {"reno", "cubic", "bbr", "dctcp", "vegas"}
ALONE = {"ts", "sack", "ecn", "ecnseen", "fastopen", "app_limited", "<->", "<--", "-->", "---"}
FOLLOWED = {"send", "pacing_rate", "delivery_rate"}
TIMERS = {"off": 0, "on": 1, "keepalive": 2, "timewait": 3, "persist": 4}


def namespace_mounts():
    """Where namespaces are bind-mounted."""
    mounts = set()
    # By "\n" alone: a mount's name may hold any other byte.
    for line in os.fsdecode(pathlib.Path("/proc/self/mountinfo").read_bytes()).rstrip("\n").split("\n"):
        left, right = line.split(" - ", 1)
        if right.split()[0] == "nsfs":
            mounts.add(left.split()[4])
    return mounts


def namespaces():
    """{inode: a file to enter it by} of every network namespace that can be seen."""
    found = {}
    tasks = [f"/proc/{pid}/task/{tid}/ns/net" for pid in os.listdir("/proc") if pid.isdigit()
             for tid in tasks_of(pid)]
    for file in sorted(namespace_mounts()) + ["/proc/self/ns/net"] + tasks:
        try:
            if os.path.exists(file) and (not file.startswith("/proc") or os.readlink(file).startswith("net:")):
                found.setdefault(os.stat(file).st_ino, file)
        except OSError:
            continue
    return found


def tasks_of(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []


def in_namespace(file, argv):
    done = subprocess.run(["nsenter", f"--net={file}", *argv], capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


# --- ss's words --------------------------------------------------------------

def address(text):
    """(address, port) as ss writes them; a port of * is 0."""
    host, port = text.rsplit(":", 1)
    host = host.split("%")[0].strip("[]")
    return host, 0 if port == "*" else int(port)


def state(word):
    return {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSE"}.get(word, word.replace("-", "_").replace("FIN_WAIT_", "FIN_WAIT"))


def endpoint(line):
    """What `ss -taHn` tells of a socket: how a person knows it."""
    words = line.split()
    source, destination = address(words[3]), address(words[4])
    v6 = "[" in words[3] or words[3].startswith("*")
    anywhere = "::" if v6 else "0.0.0.0"
    fix = lambda a: (anywhere if a[0] == "*" else a[0], a[1])
    return (10 if v6 else 2, state(words[0]), *fix(source), *fix(destination))


def details(line):
    """The rest of the line as {key: text}; words that stand alone are True."""
    words = line.split()
    found = {"rqueue": words[1], "wqueue": words[2]}
    rest = iter(words[5:])
    for word in rest:
        if word in CONGESTION:
            found["congestion"] = word
        elif word in ALONE:
            found[word] = True
        elif word in FOLLOWED:
            found[word] = next(rest)
        elif ":" in word:
            key, value = word.split(":", 1)
            found[key] = value
    return found


def read(file):
    """{cookie: socket} of a namespace; a socket is details with its endpoint."""
    found = {}
    for line in in_namespace(file, SS).splitlines():
        socket = details(line)
        socket["endpoint"] = endpoint(line)
        found[int(socket["sk"], 16)] = socket
    return found


def read_all():
    """{inode: sockets} of every namespace that is still there when it is entered."""
    found = {}
    for inode, file in namespaces().items():
        try:
            found[inode] = read(file)
        except subprocess.CalledProcessError:
            continue  # another's has just gone
    return found


def listed(file):
    """The endpoints of `ss -taHn`, sorted."""
    return sorted(endpoint(line) for line in in_namespace(file, ["ss", "-taHn"]).splitlines())


# What goes on although nobody does anything.
MOVING = {"lastsnd", "lastrcv", "lastack", "timer", "busy", "rwnd_limited", "sndbuf_limited"}


def still(sockets):
    return {cookie: {k: v for k, v in socket.items() if k not in MOVING} for cookie, socket in sockets.items()}


def settled(file, count=None):
    """ss's sockets once two looks agree; count: and there are so many."""
    before = read(file)

    def again():
        nonlocal before
        last, before = before, read(file)
        return still(last) == still(before) and (count is None or len(before) == count)
    wait_for(again, 15, f"{count} sockets at rest in {file}; there are {len(before)}")
    return before


# --- a record's words --------------------------------------------------------

def record_endpoint(record):
    return (record["inet_diag_msg_family"], record["inet_diag_msg_state"],
            record["inet_diag_msg_socket_source"], record["inet_diag_msg_socket_source_port"],
            record["inet_diag_msg_socket_destination"], record["inet_diag_msg_socket_destination_port"])


def same_number(text, value):
    return float(text) == float(value)


def hexadecimal(text, value):
    return int(text, 16) == value


def times(factor):
    """ss shows six digits of a multiple."""
    return lambda text, value: abs(float(text.rstrip("bpsm")) - value * factor) <= 1e-5 * max(1e-3, value * factor)


def in_list(pattern, check=same_number):
    """Of "skmem:(r0,rb131072,...)": the part that fits the pattern."""
    def compare(text, value):
        found = re.search(pattern, text)
        return check(found.group(1), value) if found else None
    return compare


def bit(number):
    return lambda text, value: bool(value & number)


def cgroup(text, value):
    """ss shows the path of what the record has as a number, the folder's inode; or the number, where no cgroup2 is mounted."""
    if text.startswith("unreachable:"):
        return int(text.removeprefix("unreachable:"), 16) == value
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return os.stat(line.split()[1] + text).st_ino == value
    return False


def timer(text, value):
    return TIMERS[text.strip("()").split(",")[0]] == value


def shutdown(word_value):
    return lambda text, value: value == word_value


# A field, ss's key, how they compare.  What ss does not show is 0 or absent in
# the record, but for the keys in UNKNOWN_WHEN_ABSENT.
FIELDS = [
    ("inet_diag_msg_rqueue", "rqueue", same_number),
    ("inet_diag_msg_wqueue", "wqueue", same_number),
    ("inet_diag_msg_timer", "timer", timer),
    ("inet_diag_msg_uid", "uid", same_number),
    ("inet_diag_msg_inode", "ino", same_number),
    ("mark", "fwmark", hexadecimal),
    ("c_group", "cgroup", cgroup),
    ("ipv6_only", "v6only", same_number),
    ("type_of_service", "tos", hexadecimal),
    ("traffic_class", "tclass", hexadecimal),
    ("class_id", "class_id", hexadecimal),
    ("sk_mem_info_rmem_alloc", "skmem", in_list(r"\(r(\d+)")),
    ("sk_mem_info_rcv_buf", "skmem", in_list(r"rb(\d+)")),
    ("sk_mem_info_wmem_alloc", "skmem", in_list(r",t(\d+)")),
    ("sk_mem_info_snd_buf", "skmem", in_list(r",tb(\d+)")),
    ("sk_mem_info_fwd_alloc", "skmem", in_list(r",f(\d+)")),
    ("sk_mem_info_wmem_queued", "skmem", in_list(r",w(\d+)")),
    ("sk_mem_info_optmem", "skmem", in_list(r",o(\d+)")),
    ("sk_mem_info_backlog", "skmem", in_list(r",bl(\d+)")),
    ("sk_mem_info_drops", "skmem", in_list(r",d(\d+)")),
    ("congestion_algorithm_string", "congestion", str.__eq__),
    ("tcp_info_send_scale", "wscale", in_list(r"^(\d+),")),
    ("tcp_info_rcv_scale", "wscale", in_list(r",(\d+)$")),
    ("tcp_info_rto", "rto", times(1e-3)),
    ("tcp_info_backoff", "backoff", same_number),
    ("tcp_info_rtt", "rtt", in_list(r"^([\d.e+-]+)/", times(1e-3))),
    ("tcp_info_rtt_var", "rtt", in_list(r"/([\d.e+-]+)$", times(1e-3))),
    ("tcp_info_ato", "ato", times(1e-3)),
    ("tcp_info_snd_mss", "mss", same_number),
    ("tcp_info_pmtu", "pmtu", same_number),
    ("tcp_info_rcv_mss", "rcvmss", same_number),
    ("tcp_info_adv_mss", "advmss", same_number),
    ("tcp_info_snd_cwnd", "cwnd", same_number),
    ("tcp_info_snd_ssthresh", "ssthresh", same_number),
    ("tcp_info_bytes_sent", "bytes_sent", same_number),
    ("tcp_info_bytes_retrans", "bytes_retrans", same_number),
    ("tcp_info_bytes_acked", "bytes_acked", same_number),
    ("tcp_info_bytes_received", "bytes_received", same_number),
    ("tcp_info_segs_out", "segs_out", same_number),
    ("tcp_info_segs_in", "segs_in", same_number),
    ("tcp_info_data_segs_out", "data_segs_out", same_number),
    ("tcp_info_data_segs_in", "data_segs_in", same_number),
    ("tcp_info_pacing_rate", "pacing_rate", in_list(r"^(\d+)bps", times(8))),
    ("tcp_info_max_pacing_rate", "pacing_rate", in_list(r"/(\d+)bps", times(8))),
    ("tcp_info_delivery_rate", "delivery_rate", times(8)),
    ("tcp_info_delivered", "delivered", same_number),
    ("tcp_info_delivered_ce", "delivered_ce", same_number),
    ("tcp_info_delivery_rate_app_limited", "app_limited", bit(1)),
    ("tcp_info_options", "ts", bit(1)),
    ("tcp_info_options", "sack", bit(2)),
    ("tcp_info_options", "wscale", bit(4)),
    ("tcp_info_options", "ecn", bit(8)),
    ("tcp_info_unacked", "unacked", same_number),
    ("tcp_info_retrans", "retrans", in_list(r"^(\d+)/")),
    ("tcp_info_total_retrans", "retrans", in_list(r"/(\d+)$")),
    ("tcp_info_lost", "lost", same_number),
    ("tcp_info_sacked", "sacked", same_number),
    ("tcp_info_dsack_dups", "dsack_dups", same_number),
    ("tcp_info_reordering", "reordering", same_number),
    ("tcp_info_reord_seen", "reord_seen", same_number),
    ("tcp_info_rcv_rtt", "rcv_rtt", times(1e-3)),
    ("tcp_info_rcv_space", "rcv_space", same_number),
    ("tcp_info_rcv_ssthresh", "rcv_ssthresh", same_number),
    ("tcp_info_not_sent_bytes", "notsent", same_number),
    ("tcp_info_min_rtt", "minrtt", times(1e-3)),
    ("tcp_info_rcv_ooopack", "rcv_ooopack", same_number),
    ("tcp_info_snd_wnd", "snd_wnd", same_number),
    ("bbr_info_min_rtt", "bbr", in_list(r"mrtt:([\d.e+-]+)", times(1e-3))),
    ("bbr_info_pacing_gain", "bbr", in_list(r"pacing_gain:([\d.e+-]+)", times(1 / 256))),
    ("bbr_info_cwnd_gain", "bbr", in_list(r"cwnd_gain:([\d.e+-]+)", times(1 / 256))),
    ("bbr_info_bw_lo", "bbr", lambda text, value: int(in_bps(text) / 8) & 0xffffffff == value),
    ("shutdown_state", "<->", shutdown(0)),
    ("shutdown_state", "-->", shutdown(1)),
    ("shutdown_state", "<--", shutdown(2)),
]
# Of tcp_info's options one word absent is one bit clear; the arrows are one of four.
BITS = {"ts": 1, "sack": 2, "wscale": 4, "ecn": 8}
UNKNOWN_WHEN_ABSENT = {"timer", "<->", "-->", "<--", "congestion"}
# Values that ss leaves out because they say nothing.
SAYS_NOTHING = {
    "tcp_info_reordering": {3},
    "tcp_info_rto": {3000000},
    "tcp_info_rtt_var": {250000},  # the kernel's guess, shown with an rtt only
    "tcp_info_min_rtt": {0xffffffff},
    "tcp_info_pacing_rate": {0xffffffffffffffff},
    "tcp_info_max_pacing_rate": {0xffffffffffffffff},
    "bbr_info_min_rtt": {0xffffffff},
}


def in_bps(text):
    return int(re.search(r"bw:(\d+)bps", text).group(1))


def agrees(field, key, check, socket, record):
    value = record.get(field, 0)
    if key in socket:
        shown = check("" if socket[key] is True else socket[key], value)
        if shown is not None:
            return shown
    if key in UNKNOWN_WHEN_ABSENT:
        return True
    if key in BITS:
        return not value & BITS[key] if field == "tcp_info_options" else not value
    if field == "tcp_info_snd_ssthresh":
        return value == 0 or value >= 0xffff
    if field == "tcp_info_sacked" and socket["endpoint"][1] == "LISTEN":
        return True
    return not value or value in SAYS_NOTHING.get(field, ())


def differences(record, before, after):
    """Every field in which a record is neither what ss said before nor after."""
    found = []
    if record_endpoint(record) not in (before["endpoint"], after["endpoint"]):
        found.append(f"endpoint {record_endpoint(record)}, ss: {before['endpoint']}")
    for field, key, check in FIELDS:
        looks = [agrees(field, key, check, socket, record) for socket in (before, after)]
        moved = before.get(key) != after.get(key)
        if not any(looks) and not moved:
            found.append(f"{field} {record.get(field)!r}, ss {key}: {before.get(key)!r}")
    return found


def by_cookie(records):
    found = {}
    for record in records:
        cookie = record["inet_diag_msg_socket_cookie"]
        assert cookie not in found, f"twice: {record}"
        found[cookie] = record
    return found


def compare(records, before, after):
    """That records of one namespace are what ss says, socket by socket, field by field."""
    ours = by_cookie(records)
    lasting = before.keys() & after.keys()
    missing = {cookie: before[cookie]["endpoint"] for cookie in lasting - ours.keys()}
    assert not missing, f"{len(missing)} of {len(lasting)} sockets are missing: {list(missing.items())[:5]}"
    foreign = ours.keys() - before.keys() - after.keys()
    assert not foreign, f"{len(foreign)} sockets that ss does not know: {[record_endpoint(ours[c]) for c in foreign][:5]}"
    wrong = [f"{cookie:x}: {line}" for cookie in lasting for line in differences(ours[cookie], before[cookie], after[cookie])]
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:20])
