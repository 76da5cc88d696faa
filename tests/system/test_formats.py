"""The formats that people and their tools read."""
import csv
import fcntl
import io
import ipaddress
import json
import os
import pty
import struct
import subprocess
import termios

import pytest

import harness
import witness
from harness import BIN, PATIENCE, sockets

WORDS = ["established:count=4,bytes=3000,mark=9", "established:count=2,family=6", "established:family=mapped",
         "listen:count=2", "time-wait:count=2"]


@pytest.fixture
def namespace(world):
    made = world.named("-l", *WORDS)
    made.truth = witness.settled(made.file)
    return made


def rows_of(text, delimiter):
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


@pytest.mark.parametrize("form, delimiter", [("csv", ","), ("tsv", "\t")])
def test_separated_has_a_header_and_the_same_rows(tcpdiag, namespace, form, delimiter):
    """A spreadsheet gets one header, one row a socket, and empty cells for what is unknown."""
    data = tcpdiag.once("--format", "protobuf", "--netns", namespace.name)
    records = harness.parse_jsonl(tcpdiag.decode(data).decode())
    text = tcpdiag.decode(data, form).decode()
    rows = rows_of(text, delimiter)
    assert len(rows) == len(records) == len(namespace.truth)
    assert len(text.splitlines()) == len(rows) + 1
    for record, row in zip(records, rows):
        assert None not in row and None not in row.values(), "as many cells as columns"
        for name, cell in row.items():
            assert cell == (str(record[name]) if name in record else ""), name


@pytest.mark.parametrize("form, delimiter", [("csv", ","), ("tsv", "\t")])
def test_columns_are_chosen_and_in_order(tcpdiag, namespace, form, delimiter):
    """--columns shows these fields, in this order, and no other."""
    columns = "netns,inet_diag_msg_state,mark,traffic_class"
    text = tcpdiag.once("--format", form, "--columns", columns, "--netns", namespace.name).decode()
    lines = [line.split(delimiter) for line in text.splitlines()]
    assert lines[0] == columns.split(",")
    assert {line[0] for line in lines[1:]} == {namespace.name}
    assert sorted(line[1] for line in lines[1:]) == sorted(s["endpoint"][1] for s in namespace.truth.values())
    assert {line[2] for line in lines[1:]} == {"0", "9"}
    assert {line[3] for line in lines[1:]} == {"0", ""}, "a class that is 0 is not one that there is none of"


def on_a_terminal(words, columns):
    """Runs it with a terminal of this width as its stdout."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    run = subprocess.Popen([str(BIN / "tcpdiag"), *map(str, words)], stdin=subprocess.DEVNULL, stdout=slave,
                           stderr=subprocess.PIPE, start_new_session=True)
    os.close(slave)
    output = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        output += piece
        if not piece:
            break
    os.close(master)
    errors = run.stderr.read().decode()
    run.stderr.close()
    assert run.wait(30 * PATIENCE) == 0, errors
    return output.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("width", [80, 132])
def test_table_fits_the_terminal(tcpdiag, namespace, width):
    """A person sees a table without asking for it, no line is wider than the terminal, every socket has one."""
    text = on_a_terminal(["run", "--once", "--socket", tcpdiag.socket, "--netns", namespace.name], width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if namespace.name[:8] in line]
    assert len(rows) == len(namespace.truth)
    head = lines[0].upper()
    for word in ("STATE", "LOCAL", "PEER"):
        assert word in head, head
    for socket in namespace.truth.values():
        assert any(f":{socket['endpoint'][3]}" in row for row in rows), socket["endpoint"]


def test_table_columns(tcpdiag, namespace):
    """--columns picks others for the table too."""
    text = tcpdiag.once("--format", "table", "--columns", "inet_diag_msg_socket_source_port,mark", "--netns", namespace.name)
    rows = [line.split() for line in text.decode().splitlines()]
    ports = {str(socket["endpoint"][3]) for socket in namespace.truth.values()}
    assert {row[0] for row in rows[1:]} == ports


@pytest.mark.parametrize("form", ["table", "csv", "tsv", "protobufList"])
def test_snapshot_ends_are_not_for_these(tcpdiag, namespace, form):
    """What consumers of these formats do not know is never in them."""
    output = tcpdiag.once("--format", form, "--netns", namespace.name)
    if form == "protobufList":
        output = tcpdiag.decode(output)
        assert len(sockets(harness.parse_jsonl(output.decode()))) == len(output.splitlines())
    else:
        assert len(output.decode().splitlines()) == len(namespace.truth) + 1


def test_jsonl_addresses(tcpdiag, namespace):
    """IPv6 by RFC 5952, v4-mapped as such, ports as numbers."""
    records = tcpdiag.records("--netns", namespace.name)
    for record in records:
        source, peer = record["inet_diag_msg_socket_source"], record["inet_diag_msg_socket_destination"]
        assert (record["inet_diag_msg_family"] == 2) == (":" not in source) == (":" not in peer)
        for text in (source, peer):
            address = ipaddress.ip_address(text)
            mapped = getattr(address, "ipv4_mapped", None)
            assert text == (f"::ffff:{mapped}" if mapped else str(address))
    assert {"::1", "::"} <= {record["inet_diag_msg_socket_source"] for record in records}
    assert any(record["inet_diag_msg_socket_source"].startswith("::ffff:127.") for record in records)
    assert all(isinstance(record["inet_diag_msg_socket_source_port"], int) for record in records)


def test_ns_lists_what_the_daemon_would_read(tcpdiag, world, namespace):
    """tcpdiag ns: inode, name, how found, sockets; --json for programs."""
    other = world.anonymous("listen:count=3")
    done = tcpdiag.run("ns", "--json")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    listed = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    by_inode = {entry["inode"]: entry for entry in listed}
    assert len(by_inode) == len(listed)
    assert by_inode[namespace.inode]["name"] == namespace.name
    assert by_inode[other.inode]["name"] == other.name
    assert by_inode[os.stat("/proc/self/ns/net").st_ino]["name"] == "default"
    plain = tcpdiag.run("ns").stdout.decode()
    assert any(namespace.name in line and str(namespace.inode) in line for line in plain.splitlines())
    assert str(other.inode) in plain


def test_version_names_the_commit(tcpdiag):
    done = tcpdiag.run("--version")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("tcpdiag ")
