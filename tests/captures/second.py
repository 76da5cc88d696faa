"""The second decoder: inet_diag messages by the kernel's structs, and nothing of tcpdiag's tables.

Written from the kernel's uapi headers linux/inet_diag.h, linux/tcp.h, linux/sock_diag.h, linux/tls.h and linux/mptcp.h: each
struct is a list of its members in their order, and C's rules say where they are.  What a field of the record is called stands
in FIELDS.
"""
import functools
import struct
import sys

# --- the kernel's structs ------------------------------------------------------------

MSG = """u8 family state timer retrans, be16 sport dport, addr src dst, u32 if, cookie cookie,
         u32 expires rqueue wqueue uid inode"""
MEMINFO = "u32 rmem wmem fmem tmem"
INFO = """u8 state ca_state retransmits probes backoff options snd_wscale:4 rcv_wscale:4
          delivery_rate_app_limited:1 fastopen_client_fail:2,
          u32 rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
          last_data_sent last_ack_sent last_data_recv last_ack_recv
          pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans,
          u64 pacing_rate max_pacing_rate bytes_acked bytes_received,
          u32 segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out,
          u64 delivery_rate busy_time rwnd_limited sndbuf_limited,
          u32 delivered delivered_ce, u64 bytes_sent bytes_retrans,
          u32 dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash,
          u16 total_rto total_rto_recoveries, u32 total_rto_time
          received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes
          received_e1_bytes received_e0_bytes received_ce_bytes accecn"""
SKMEMINFO = "u32 rmem_alloc rcvbuf wmem_alloc sndbuf fwd_alloc wmem_queued optmem backlog drops"
VEGASINFO = "u32 enabled rttcnt rtt minrtt"
DCTCPINFO = "u16 enabled ce_state, u32 alpha ab_ecn ab_tot"
BBRINFO = "u32 bw_lo bw_hi min_rtt pacing_gain cwnd_gain"

# INET_DIAG_*: number, name, its struct (or one member without a name).
ATTRIBUTES = {
    1: ("MEMINFO", MEMINFO), 2: ("INFO", INFO), 3: ("VEGASINFO", VEGASINFO), 4: ("CONG", "text"), 5: ("TOS", "u8"), 6: ("TCLASS", "u8"),
    7: ("SKMEMINFO", SKMEMINFO), 8: ("SHUTDOWN", "u8"), 9: ("DCTCPINFO", DCTCPINFO), 10: ("PROTOCOL", "u8"), 11: ("SKV6ONLY", "u8"),
    15: ("MARK", "u32"), 16: ("BBRINFO", BBRINFO), 17: ("CLASS_ID", "u32"), 18: ("MD5SIG", "keys"), 19: ("ULP_INFO", "nest"),
    21: ("CGROUP_ID", "u64"), 22: ("SOCKOPT", "u16"),
}
ULP_INFO = {1: ("ULP_NAME", "text"), 2: ("TLS", "nest"), 3: ("MPTCP", "nest")}
TLS = {1: ("TLS_VERSION", "u16"), 2: ("TLS_CIPHER", "u16"), 3: ("TLS_TXCONF", "u16"), 4: ("TLS_RXCONF", "u16"),
       5: ("TLS_ZC_RO_TX", "flag"), 6: ("TLS_RX_NO_PAD", "flag"), 7: ("TLS_TX_MAX_PAYLOAD_LEN", "u16")}
MPTCP = {1: ("MPTCP_TOKEN_REM", "u32"), 2: ("MPTCP_TOKEN_LOC", "u32"), 3: ("MPTCP_RELWRITE_SEQ", "u32"), 4: ("MPTCP_MAP_SEQ", "u64"),
         5: ("MPTCP_MAP_SFSEQ", "u32"), 6: ("MPTCP_SSN_OFFSET", "u32"), 7: ("MPTCP_MAP_DATALEN", "u16"), 8: ("MPTCP_FLAGS", "u32"),
         9: ("MPTCP_ID_REM", "u8"), 10: ("MPTCP_ID_LOC", "u8")}
NESTS = {"ULP_INFO": ULP_INFO, "TLS": TLS, "MPTCP": MPTCP}
MD5SIG = struct.Struct("=BBH16s80s")  # family, prefix length, key length, address, key
IGNORED = {id(ATTRIBUTES): {14}, id(MPTCP): {11}}  # padding
TAIL_MAX = 1024  # of what a newer kernel put behind tcp_info, the record keeps so much

# --- what the record calls them -------------------------------------------------------

SAME = {"inet_diag_msg_": ("MSG", "family state timer retrans expires rqueue wqueue uid inode"),
        "mem_info_": ("MEMINFO", "rmem wmem fmem tmem"),
        "tcp_info_": ("INFO", """state ca_state retransmits probes backoff options rcv_wscale delivery_rate_app_limited rto ato snd_mss
            unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt
            snd_ssthresh snd_cwnd reordering rcv_rtt rcv_space total_retrans pacing_rate max_pacing_rate bytes_acked bytes_received
            segs_out segs_in min_rtt data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited delivered
            delivered_ce bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash total_rto
            total_rto_recoveries total_rto_time received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes
            received_e1_bytes received_e0_bytes received_ce_bytes accecn"""),
        "sk_mem_info_": ("SKMEMINFO", "rmem_alloc wmem_alloc fwd_alloc wmem_queued optmem backlog drops"),
        "vegas_info_": ("VEGASINFO", "enabled rtt"),
        "dctcp_info_": ("DCTCPINFO", "enabled ce_state alpha ab_ecn ab_tot"),
        "bbr_info_": ("BBRINFO", "bw_lo bw_hi min_rtt pacing_gain cwnd_gain")}
FIELDS = {prefix + name: (source, name) for prefix, (source, names) in SAME.items() for name in names.split()}
del FIELDS["tcp_info_rcv_wscale"]
FIELDS |= {
    "inet_diag_msg_socket_source_port": ("MSG", "sport"), "inet_diag_msg_socket_destination_port": ("MSG", "dport"),
    "inet_diag_msg_socket_source": ("MSG", "src"), "inet_diag_msg_socket_destination": ("MSG", "dst"),
    "inet_diag_msg_socket_interface": ("MSG", "if"), "inet_diag_msg_socket_cookie": ("MSG", "cookie"),
    "tcp_info_send_scale": ("INFO", "snd_wscale"), "tcp_info_rcv_scale": ("INFO", "rcv_wscale"),
    "tcp_info_fast_open_client_failed": ("INFO", "fastopen_client_fail"), "tcp_info_rcv_mss": ("INFO", "rcv_mss"),
    "tcp_info_rtt_var": ("INFO", "rttvar"), "tcp_info_adv_mss": ("INFO", "advmss"),
    "tcp_info_not_sent_bytes": ("INFO", "notsent_bytes"),
    "congestion_algorithm_string": ("CONG", ""), "type_of_service": ("TOS", ""), "traffic_class": ("TCLASS", ""),
    "sk_mem_info_rcv_buf": ("SKMEMINFO", "rcvbuf"), "sk_mem_info_snd_buf": ("SKMEMINFO", "sndbuf"), "shutdown_state": ("SHUTDOWN", ""),
    "vegas_info_rtt_cnt": ("VEGASINFO", "rttcnt"), "vegas_info_min_rtt": ("VEGASINFO", "minrtt"),
    "class_id": ("CLASS_ID", ""), "sock_opt": ("SOCKOPT", ""), "c_group": ("CGROUP_ID", ""), "mark": ("MARK", ""),
    "ipv6_only": ("SKV6ONLY", ""), "protocol": ("PROTOCOL", ""), "ulp_name": ("ULP_NAME", ""),
    "tls_version": ("TLS_VERSION", ""), "tls_cipher": ("TLS_CIPHER", ""), "tls_tx_conf": ("TLS_TXCONF", ""),
    "tls_rx_conf": ("TLS_RXCONF", ""), "tls_zc_ro_tx": ("TLS_ZC_RO_TX", ""), "tls_rx_no_pad": ("TLS_RX_NO_PAD", ""),
    "tls_tx_max_payload_len": ("TLS_TX_MAX_PAYLOAD_LEN", ""),
    "tcp_info_tail": ("INFO", "tail"), "md5_key_count": ("MD5SIG", "count"), "md5_peer_family": ("MD5SIG", "family"),
    "md5_peer_prefix_length": ("MD5SIG", "prefix"), "md5_peer_address": ("MD5SIG", "address"),
}
FIELDS |= {name.lower(): (name, "") for name, _ in MPTCP.values()}
MADE = {"congestion_algorithm_enum", "attributes_present", "tcp_info_length"}  # of what came: Socket.record()
# Bits of attributes_present, as tcpdiag-record(7) has them: the kernel's numbers, and from 32 on the parts of INET_DIAG_ULP_INFO.
BITS = {"MSG": 0, **{name: number for number, (name, _) in ATTRIBUTES.items()}, "ULP_NAME": 32,
        **{name: 32 + number for number, (name, _) in TLS.items()},
        **{name: 39 + number for number, (name, _) in MPTCP.items()}, "TLS": 50, "MPTCP": 51}
CONGESTIONS = {"cubic": 1, "dctcp": 2, "vegas": 3, "prague": 4, "bbr": 5, "bbr1": 5, "bbr2": 6, "bbr3": 7}

# --- reading ----------------------------------------------------------------------------

CODES = {"u8": ("B", 1), "u16": ("H", 2), "u32": ("I", 4), "u64": ("Q", 8), "be16": ("2s", 2), "addr": ("16s", 4), "cookie": ("8s", 4)}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "be16": 2, "addr": 16, "cookie": 8}


@functools.cache
def members(text):
    """[(name, kind, offset, first bit, bits)] of "u8 a b:4 c:4, u32 d", as a C compiler lays it out, which bit fields are the low
    bits first of on this machine.  A kind's name alone is one member without a name."""
    found, at = [], 0
    for kind, *names in (group.split() for group in text.split(",")):
        bit = 0
        align = CODES[kind][1]
        at = at + align - 1 & -align
        for word in names or [""]:
            name, _, bits = word.partition(":")
            width = int(bits or SIZES[kind] * 8)
            if bit + width > SIZES[kind] * 8 or (bit and not bits):
                at, bit = at + SIZES[kind], 0
            found.append((name, kind, at, bit, width))
            bit += width
            if bit == SIZES[kind] * 8:
                at, bit = at + SIZES[kind], 0
        at += SIZES[kind] if bit else 0
    return found


@functools.cache
def size(text):
    return max(at + SIZES[kind] for _, kind, at, _, _ in members(text))


@functools.cache
def reader(text, length):
    """A Struct of the members that are whole in so many bytes, and what to do with each: (name, kind, first bit, mask)."""
    code, uses, at = "=", [], 0
    for name, kind, offset, bit, width in members(text):
        if offset + SIZES[kind] > length:
            break
        if offset >= at:
            code += f"{offset - at}x" + CODES[kind][0]
            at = offset + SIZES[kind]
            uses.append([])
        uses[-1].append((name, kind, bit, (1 << width) - 1 if width < SIZES[kind] * 8 else None))
    return struct.Struct(code), uses


def number(kind, value, bit, mask):
    if kind == "be16":
        return int.from_bytes(value, "big")
    if kind == "cookie":
        low, high = struct.unpack("=II", value)
        return low | high << 32
    if mask is None:
        return value
    return value >> bit & mask


def read_struct(values, source, text, payload):
    unpack, uses = reader(text, len(payload))
    for value, parts in zip(unpack.unpack_from(payload), uses):
        for name, kind, bit, mask in parts:
            values[source, name] = value if mask is None and kind[0] == "u" else number(kind, value, bit, mask)


def attributes(payload, at=0):
    """(number, payload) of each attribute; the last thing is (None, what is left) if that is none."""
    while at < len(payload):
        if at + 4 > len(payload):
            yield None, payload[at:]
            return
        length, kind = struct.unpack_from("=HH", payload, at)
        if length < 4 or at + length > len(payload):
            yield None, payload[at:]
            return
        yield kind & 0x3fff, payload[at + 4:at + length]
        at += length + 3 & ~3


def printable(payload):
    """A C string, whose bytes beyond printable ASCII the collector replaces."""
    return "".join(chr(byte) if 0x20 < byte < 0x7f else "_" for byte in payload.split(b"\0")[0][:255])


class Malformed(Exception):
    """No whole inet_diag message."""


class Socket:
    """One message, decoded: values by (source, member), and which sources came."""

    def __init__(self, payload):
        if len(payload) < size(MSG):
            raise Malformed(f"{len(payload)} bytes")
        self.values, self.sent, self.short, self.unknown = {}, {"MSG"}, [], []
        self.info_length = 0
        read_struct(self.values, "MSG", MSG, payload)
        self.take(payload, size(MSG), ATTRIBUTES)

    def take(self, payload, at, known):
        for kind, value in attributes(payload, at):
            if kind is None:
                # In a nest libmnl just stops, and so does the kernel.
                if known is ATTRIBUTES:
                    raise Malformed("something behind the last attribute")
                return
            if kind not in known:
                self.unknown.extend([kind] if kind not in IGNORED.get(id(known), ()) else [])
                continue
            self.attribute(*known[kind], value)

    def attribute(self, name, kind, payload):
        if kind == "nest":
            self.sent.add(name)
            self.take(payload, 0, NESTS[name])
            return
        if kind == "keys":
            if len(payload) < MD5SIG.size:
                self.short.append(name)
                return
            family, prefix, _, address, _ = MD5SIG.unpack_from(payload)
            self.values |= {("MD5SIG", "count"): len(payload) // MD5SIG.size, ("MD5SIG", "family"): family,
                            ("MD5SIG", "prefix"): prefix, ("MD5SIG", "address"): address}
        elif kind == "text":
            if not payload:
                self.short.append(name)
                return
            self.values[name, ""] = printable(payload)
        elif kind == "flag":
            self.values[name, ""] = 1
        else:
            if name == "INFO":
                self.info_length = len(payload)
                self.values = {key: value for key, value in self.values.items() if key[0] != "INFO"}
            elif len(payload) < size(kind):
                self.short.append(name)
                return
            read_struct(self.values, name, kind, payload)
            if name == "INFO" and len(payload) > size(kind):
                self.values["INFO", "tail"] = payload[size(kind):][:TAIL_MAX]
        self.sent.add(name)

    @property
    def present(self):
        return sum(1 << BITS[name] for name in self.sent if name in BITS)

    def record(self):
        """{field of the record: value}, of what came; an address is 16 bytes, IPv4 in the first four, as in the message."""
        found = {field: self.values[key] for field, key in FIELDS.items() if key in self.values}
        name = found.get("congestion_algorithm_string")
        if name is not None:
            found["congestion_algorithm_enum"] = CONGESTIONS.get(name, 0)
        found["attributes_present"] = self.present
        found["tcp_info_length"] = self.info_length
        return found

    @property
    def key(self):
        return key_of(self.values)


def key_of(values):
    """(cookie, endpoints)"""
    family, source, sport, destination, dport = (values["MSG", name] for name in ("family", "src", "sport", "dst", "dport"))
    return values["MSG", "cookie"], (family, source, sport, family, destination, dport)


def key(payload):
    """The same of a message, without its attributes."""
    values = {}
    if len(payload) < size(MSG):
        raise Malformed(f"{len(payload)} bytes")
    read_struct(values, "MSG", MSG, payload[:size(MSG)])
    return key_of(values)


assert sys.byteorder == "little", "bit fields of the kernel's structs are read as little-endian machines have them"
