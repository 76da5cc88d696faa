"""Our decoder and encoder against the second decoder, for every socket and every field of the record, also those that ss does not show."""
import pytest

import folders
import pcap
import second
import tcpdiag

def test_every_field_is_decoded_twice():
    """A field that is new in the record has to be in the second decoder, too."""
    assert {name for name in tcpdiag.FIELDS if tcpdiag.is_from_kernel(name)} == set(second.FIELDS) | second.MADE
    assert not set(tcpdiag.OTHERS) - set(tcpdiag.FIELDS), "these fields are no more"


def test_structs_are_as_long_as_the_kernels():
    """The lengths that KERNEL versions of tcp_info had end at a member's end, and so do the other structs."""
    ends = {offset + second.SIZES[kind] for _, kind, offset, _, _ in second.members(second.INFO)}
    assert {104, 192, 224, 232, 240, 248, 280} <= ends and second.size(second.INFO) == 280
    sizes = {"MSG": 72, "MEMINFO": 16, "SKMEMINFO": 36, "VEGASINFO": 16, "DCTCPINFO": 16, "BBRINFO": 20}
    assert {name: second.size(getattr(second, name)) for name in sizes} == sizes


def compare(path, sockets):
    records = tcpdiag.records(path)
    assert len(records) == len(sockets), f"{len(records)} records of {len(sockets)} sockets"
    for number, (record, socket) in enumerate(zip(records, sockets)):
        ours = {name: value for name, value in record.items() if tcpdiag.is_from_kernel(name)}
        theirs = socket.record()
        differ = {name: (ours.get(name), theirs.get(name)) for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
        assert not differ, f"socket {number}, cookie {socket.key[0]:x}: ours and the second decoder's: {differ}"


@pytest.mark.parametrize("capture", folders.of_kind("capture"), ids=lambda file: file.name)
def test_capture(capture):
    compare(capture.path, folders.sockets(capture))


def test_parts_of_captures(tmp_path):
    """Files with one message, or one attribute, which has to be put into a message first."""
    bare = bytes([2, 1, 0, 0]) + bytes(second.size(second.MSG) - 4)
    datagrams, sockets = [], []
    for file in folders.of_kind("message", "attribute"):
        data = file.path.read_bytes()
        if file.kind == "attribute":
            data = pcap.message(pcap.SOCK_DIAG_BY_FAMILY, bare + data)
        datagrams.append(data)
        sockets += [second.Socket(message.payload) for message in pcap.messages(data) if message.is_socket]
    if datagrams:
        path = tmp_path / "parts.pcap"
        pcap.write(path, datagrams)
        compare(path, sockets)


def test_files_are_known():
    """A file that is nothing of what is tested here is a mistake."""
    wrong = [f"{file.name}: {file.kind}" for file in folders.files() if file.kind not in folders.KINDS]
    assert not wrong, "\n".join(wrong)
    assert any(file.own and file.kind == "capture" for file in folders.files()), "pcaps/ holds no capture"
    if folders.EXTRA:
        assert any(not file.own and file.kind == "capture" for file in folders.files()), f"{folders.EXTRA} holds no capture"


def test_captures_are_whole():
    """A capture that is cut or no capture is a failure with its name, and so is a message in it that is no whole one."""
    wrong = []
    for file in folders.of_kind("capture"):
        try:
            for packet in pcap.packets(file.path.read_bytes()):
                left = len(packet.data) - sum(len(one.whole) + 3 & ~3 for one in pcap.messages(packet.data))
                if packet.family == pcap.NETLINK_SOCK_DIAG and left > 0:
                    wrong.append(f"{file.name}: a datagram ends in {left} bytes that are no message")
            folders.sockets(file)
        except (pcap.Unreadable, second.Malformed) as error:
            wrong.append(f"{file.name}: {error}")
    assert not wrong, "\n".join(wrong)
