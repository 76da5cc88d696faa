"""A record as the words that ss prints of the same socket.

What ss prints of which field, when and how, is that of iproute2's misc/ss.c, called with -n; a record is {field: value}
of what the kernel sent.
"""
import ipaddress

U32, U64 = 2**32 - 1, 2**64 - 1
TIMERS = ("off", "on", "keepalive", "timewait", "persist", "unknown")
OPTIONS = {"ts": 1, "sack": 2, "ecn": 8, "ecnseen": 16, "fastopen": 32, "usec_ts": 64}
WSCALE = 4
LISTEN = 10
SOCKOPT = ("recverr", "is_icsk", "freebind", "hdrincl", "mc_loop", "transparent", "mc_all", "nodefrag",
           "bind_addr_no_port", "recverr_rfc4884", "defer_connect")
TLS_VERSIONS = {0x303: "1.2", 0x304: "1.3"}
TLS_CIPHERS = {51: "aes-gcm-128", 52: "aes-gcm-256"}
TLS_CONFS = {1: "none", 2: "sw", 3: "hw", 4: "hw-record"}
MPTCP_FLAGS = "MmJjBbecv"
MPTCP_MAP = {"seq": "mptcp_map_seq", "sfseq": "mptcp_map_sfseq", "ssnoff": "mptcp_ssn_offset", "maplen": "mptcp_map_datalen"}


def hexadecimal(value):
    """C's %#x, which has no 0x before a 0."""
    return f"{value:#x}" if value else "0"


def thousandth(value):
    return "%g" % (value / 1000)


def bps(rate):
    return "%.0fbps" % rate


def timer_time(expires, unit="ms"):
    """ss's print_ms_timer(), which gave seconds with a fraction the wrong unit till 6.5."""
    minutes, seconds, rest = expires // 60000, expires // 1000 % 60, expires % 1000
    text = f"{minutes}min" if minutes else ""
    if minutes:
        rest = 0
        seconds = 0 if minutes > 9 else seconds
    if seconds:
        rest = 0 if seconds > 9 else rest
        text += f"{seconds}." if rest else f"{seconds}sec"
    return text + (f"{rest:03}{unit if seconds else 'ms'}" if rest else "")


def timer_text(record, unit):
    name = TIMERS[min(record["inet_diag_msg_timer"], 5)]
    return f"{name},{timer_time(record['inet_diag_msg_expires'], unit)},{record['inet_diag_msg_retrans']}"


def endpoints(record):
    family = record["inet_diag_msg_family"]
    return (family, record["inet_diag_msg_socket_source"], record["inet_diag_msg_socket_source_port"],
            family, record["inet_diag_msg_socket_destination"], record["inet_diag_msg_socket_destination_port"])


def message(record):
    """What stands in inet_diag_msg and in the small attributes."""
    yield "rqueue", str(record["inet_diag_msg_rqueue"])
    yield "wqueue", str(record["inet_diag_msg_wqueue"])
    timer = record["inet_diag_msg_timer"]
    if timer:
        yield "timer", timer_text(record, "ms")
    if record["inet_diag_msg_uid"]:
        yield "uid", str(record["inet_diag_msg_uid"])
    yield "ino", str(record["inet_diag_msg_inode"])
    yield "sk", f"{record['inet_diag_msg_socket_cookie']:x}"
    if record.get("mark"):
        yield "fwmark", f"0x{record['mark']:x}"
    if record.get("c_group"):
        yield "cgroup", record["c_group"]
    if "ipv6_only" in record and record["inet_diag_msg_family"] == 10:
        yield "v6only", str(record["ipv6_only"])
    if "shutdown_state" in record:
        mask = record["shutdown_state"]
        yield "shutdown", f"{'-' if mask & 1 else '<'}-{'-' if mask & 2 else '>'}"
    for word, field in (("tos", "type_of_service"), ("tclass", "traffic_class"), ("class_id", "class_id")):
        if field in record:
            yield word, hexadecimal(record[field])
    if "sock_opt" in record:
        yield "inet-sockopt", "".join(f" {name}" for bit, name in enumerate(SOCKOPT) if record["sock_opt"] >> bit & 1)


def memory(record):
    if "sk_mem_info_rmem_alloc" in record:
        names = (("r", "rmem_alloc"), ("rb", "rcv_buf"), ("t", "wmem_alloc"), ("tb", "snd_buf"), ("f", "fwd_alloc"),
                 ("w", "wmem_queued"), ("o", "optmem"), ("bl", "backlog"), ("d", "drops"))
        yield "skmem", ",".join(f"{short}{record['sk_mem_info_' + name]}" for short, name in names)
    elif "mem_info_rmem" in record:
        yield "mem", ",".join(f"{name[0]}{record['mem_info_' + name]}" for name in ("rmem", "wmem", "fmem", "tmem"))


# Fields of tcp_info that ss prints as they are, unless they are 0.
PLAIN = {"backoff": "backoff", "mss": "snd_mss", "pmtu": "pmtu", "rcvmss": "rcv_mss", "advmss": "adv_mss", "cwnd": "snd_cwnd",
         "bytes_sent": "bytes_sent", "bytes_retrans": "bytes_retrans", "bytes_acked": "bytes_acked", "bytes_received": "bytes_received",
         "segs_out": "segs_out", "segs_in": "segs_in", "data_segs_out": "data_segs_out", "data_segs_in": "data_segs_in",
         "lastsnd": "last_data_sent", "lastrcv": "last_data_recv", "lastack": "last_ack_recv", "delivered": "delivered",
         "delivered_ce": "delivered_ce", "unacked": "unacked", "lost": "lost", "dsack_dups": "dsack_dups", "fackets": "fackets",
         "reord_seen": "reord_seen", "rcv_space": "rcv_space", "rcv_ssthresh": "rcv_ssthresh", "notsent": "not_sent_bytes",
         "rcv_ooopack": "rcv_ooopack", "snd_wnd": "snd_wnd", "rcv_wnd": "rcv_wnd", "rehash": "rehash"}
TIMES = {"ato": "ato", "rcv_rtt": "rcv_rtt"}


def of_info(record):
    """A function that says what a field of tcp_info holds: 0 where this kernel's was too short."""
    return lambda name: record.get("tcp_info_" + name, 0)


def rates(record, info):
    rtt = info("rtt")
    vegas = record.get("vegas_info_rtt", 0)
    if record.get("vegas_info_enabled") and vegas and vegas != 0x7fffffff:
        rtt = vegas
    if rtt and info("snd_mss") and info("snd_cwnd"):
        yield "send", bps(float(info("snd_cwnd")) * float(info("snd_mss")) * 8000000. / rtt)
    if info("pacing_rate") not in (0, U64):
        most = info("max_pacing_rate")
        yield "pacing_rate", bps(info("pacing_rate") * 8.) + (f"/{bps(most * 8.)}" if most not in (0, U64) else "")
    if info("delivery_rate"):
        yield "delivery_rate", bps(info("delivery_rate") * 8.)


def limits(info):
    busy = info("busy_time")
    if busy:
        yield "busy", f"{busy // 1000}ms"
        for name in ("rwnd_limited", "sndbuf_limited"):
            if info(name):
                yield name, "%dms(%.1f%%)" % (info(name) // 1000, 100.0 * info(name) / busy)


def congestion(record):
    if record.get("congestion_algorithm_string"):
        yield "congestion", record["congestion_algorithm_string"]
    if record.get("dctcp_info_enabled"):
        yield "dctcp", ",".join(f"{name}:{record['dctcp_info_' + name]}" for name in ("ce_state", "alpha", "ab_ecn", "ab_tot"))
    elif "dctcp_info_enabled" in record:
        yield "dctcp", "fallback_mode"
    if "bbr_info_bw_lo" in record:
        rate = (record["bbr_info_bw_hi"] << 32 | record["bbr_info_bw_lo"]) * 8.0
        gains = "".join(",%s:%g" % (name, record["bbr_info_" + name] / 256.0) for name in ("pacing_gain", "cwnd_gain")
                        if record["bbr_info_" + name])
        yield "bbr", f"bw:{bps(rate)},mrtt:{thousandth(record['bbr_info_min_rtt'])}{gains}"


def tcp_info(record):
    info = of_info(record)
    for word, bit in OPTIONS.items():
        if info("options") & bit:
            yield word, True
    if info("options") & WSCALE:
        yield "wscale", f"{info('send_scale')},{info('rcv_scale')}"
    if info("rto") not in (0, 3000000):
        yield "rto", thousandth(info("rto"))
    if info("rtt"):
        yield "rtt", f"{thousandth(info('rtt'))}/{thousandth(info('rtt_var'))}"
    for word, name in PLAIN.items():
        if info(name):
            yield word, str(info(name))
    for word, name in TIMES.items():
        if info(name):
            yield word, thousandth(info(name))
    if 0 < info("snd_ssthresh") < 0xffff:
        yield "ssthresh", str(info("snd_ssthresh"))
    if info("delivery_rate_app_limited"):
        yield "app_limited", True
    if info("retrans") or info("total_retrans"):
        yield "retrans", f"{info('retrans')}/{info('total_retrans')}"
    if info("sacked") and record["inet_diag_msg_state"] != LISTEN:
        yield "sacked", str(info("sacked"))
    if info("reordering") != 3:
        yield "reordering", str(info("reordering"))
    if info("min_rtt") not in (0, U32):
        yield "minrtt", thousandth(info("min_rtt"))
    yield from congestion(record)
    yield from rates(record, info)
    yield from limits(info)


def conf(value):
    return TLS_CONFS.get(value, f"unknown({value})")


def tls(record):
    if "tls_version" in record:
        yield "version", TLS_VERSIONS.get(record["tls_version"], f"unknown({record['tls_version']})")
    if record.get("tls_cipher") in TLS_CIPHERS:
        yield "cipher", TLS_CIPHERS[record["tls_cipher"]]
    for word, field in (("rxconf", "tls_rx_conf"), ("txconf", "tls_tx_conf")):
        if field in record:
            yield word, conf(record[field])
    for word, field in (("zc_ro_tx", "tls_zc_ro_tx"), ("no_pad_rx", "tls_rx_no_pad")):
        if field in record:
            yield word, True


def mptcp(record):
    flags = record.get("mptcp_flags", 0)
    if flags:
        yield "flags", "".join(letter for bit, letter in enumerate(MPTCP_FLAGS) if flags >> bit & 1)
    if all(f"mptcp_{name}" in record for name in ("token_rem", "token_loc", "id_rem", "id_loc")):
        yield "token", (f"{record['mptcp_token_rem']:04x}(id:{record['mptcp_id_rem']})/"
                        f"{record['mptcp_token_loc']:04x}(id:{record['mptcp_id_loc']})")
    for word, name in MPTCP_MAP.items():
        if name in record:
            yield word, f"{record[name]:x}"


def others(record):
    if record.get("md5_key_count"):
        family = record["md5_peer_family"]
        host = ipaddress.ip_address(record["md5_peer_address"][:4 if family == 2 else 16])
        yield "md5keys", f"{host}/{record['md5_peer_prefix_length']} of {record['md5_key_count']}"
    if "ulp_name" in record:
        yield "tcp-ulp", record["ulp_name"]
    yield from tls(record)
    yield from mptcp(record)


def words(record):
    """{word: text} of a record; a cgroup is its number, which ss turns into a path."""
    found = dict(message(record)) | dict(memory(record)) | dict(others(record))
    if "tcp_info_state" in record:
        found |= dict(tcp_info(record))
    return found


def newer(word, record):
    """What newer ones print otherwise: (which change it was, the newer text)."""
    if word == "timer" and record["inet_diag_msg_timer"]:
        return "the unit of a timer's seconds", timer_text(record, "sec")
    if MPTCP_MAP.get(word) in record:
        return "MPTCP's numbers in decimal", str(record[MPTCP_MAP[word]])
    return None, None
