"""One message of each shape that the captures hold, small first: what is truncated, mutated and fuzzed."""
import folders
import pcap
import second


def shape(message, socket):
    return (message.kind, socket.values["MSG", "family"], socket.values["MSG", "state"], socket.info_length,
            frozenset(socket.sent), frozenset(socket.unknown))


def messages():
    """Datagrams of one message each."""
    found = {}
    for file in folders.of_kind("capture"):
        for _, message in pcap.sock_diag(file.path.read_bytes()):
            if message.is_socket:
                found.setdefault(shape(message, second.Socket(message.payload)), message.whole + bytes(-len(message.whole) % 4))
    return sorted(found.values(), key=len)
