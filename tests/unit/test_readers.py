"""tcpdiag decode of the formats for people and their tools: what went in comes out, whoever wrote it."""
import io
import json
import random
import subprocess

import msgpack
import pytest
from google.protobuf import json_format, text_format
from proto import xtcp_flat_record_pb2 as pb
from test_decode import DATA, TCPDIAG, delimited, ends, lines, ours, run, some_of_ours, some_record

# With the records that end a snapshot, and without.
WITH_ENDS, WITHOUT = ("jsonl", "msgpack"), ("protoJson", "protoText", "csv", "tsv")
SHORT = {"csv": 'netns,mark\na,1\n"b ""x"",\n",2\nc,3\n', "tsv": "netns\tmark\na\t1\nb \\t\\n\\\\\t2\nc\t3\n"}


@pytest.fixture(scope="module")
def mixed():
    """Other programs' records and ours."""
    chance = random.Random(24)
    some = [some_record(chance) for _ in range(300)] + [some_of_ours(chance) for _ in range(300)]
    chance.shuffle(some)
    return some


def all_columns(form):
    return ["--columns", ",".join(field.name for field in pb.XtcpFlatRecord.DESCRIPTOR.fields)] if form in ("csv", "tsv") else []


@pytest.mark.parametrize("told", [True, False], ids=["told", "seen"])
@pytest.mark.parametrize("form", WITH_ENDS + WITHOUT)
def test_round_trip(mixed, form, told):
    """Through the format and back: not a value, not a type, and no field more or less that is there."""
    data = delimited([*mixed, *([ends(3)] if form in WITH_ENDS else [])])
    there = run("--format", form, *all_columns(form), "-", data=data).stdout
    back = run("--format", "protobuf", *(["--input", form] if told else []), "-", data=there).stdout
    assert lines(run("--format", "jsonl", "-", data=back)) == lines(run("--format", "jsonl", "-", data=data))
    if form == "protoText":
        assert back == data, "addresses too, whatever the family"


def test_what_other_writers_write(mixed):
    """Python's printers and packers of the same records."""
    envelope, data = pb.Envelope(row=mixed), delimited(mixed)
    snake = json.dumps(json_format.MessageToDict(envelope, preserving_proto_field_name=True))
    for form, text in (("protoJson", snake), ("protoJson", json_format.MessageToJson(envelope, indent=None)),
                       ("protoText", text_format.MessageToString(envelope)),
                       ("protoText", text_format.MessageToString(envelope, as_one_line=True)),
                       ("protoText", text_format.MessageToString(envelope, as_utf8=True))):
        assert run("--format", "protobuf", "--input", form, "-", data=text.encode()).stdout == data, form
    packed = io.BytesIO()
    for record in lines(run("--format", "jsonl", "-", data=data)):
        # Of all widths, and with what no field of ours is between.
        packed.write(msgpack.packb({"colour": [1, {"a": None}], **record, "weight": 1.5, "flag": True, "raw": b"\0" * 300}))
    back = run("--format", "jsonl", "--input", "msgpack", "-", data=packed.getvalue())
    assert lines(back) == lines(run("--format", "jsonl", "-", data=data))


def test_text_format_as_people_write_it():
    text = '# a comment {\nrow: { netns: \'a\' "b\\x41\\101" ; mark: 7, colour: RED timestamp_ns : 5 },\n row{netns:"}" timestamp_ns: -1}  # end'
    found = lines(run("--format", "jsonl", "--input", "protoText", "-", data=text.encode()))
    assert [(r["netns"], r.get("mark"), r["timestamp_ns"]) for r in found] == [("abAA", 7, 5), ("}", None, -1)]


@pytest.mark.parametrize("form", SHORT)
def test_cells(form):
    """Quotes, escapes, newlines within, empty cells, unknown columns."""
    found = lines(run("--format", "jsonl", "-", data=SHORT[form].encode()))
    quoted = 'b "x",\n' if form == "csv" else "b \t\n\\"
    assert found == [{"netns": "a", "mark": 1}, {"netns": quoted, "mark": 2}, {"netns": "c", "mark": 3}]
    separator = "," if form == "csv" else "\t"
    text = separator.join(["netns", "colour", "mark"]) + "\n" + separator.join(["", "red", "0"]) + "\n"
    assert lines(run("--format", "jsonl", "-", data=text.encode())) == [{"mark": 0}]


@pytest.mark.parametrize("form", WITH_ENDS + WITHOUT)
def test_cut_at_every_byte(tmp_path, form):
    """What is whole is printed, and nothing of what is not; then one line names the file and the place."""
    whole = [pb.XtcpFlatRecord(netns='n",}\n', mark=1234 + i) for i in range(3)]
    columns = ["--columns", "netns,mark"] if form in ("csv", "tsv") else []
    data = run("--format", form, *columns, "-", data=delimited(whole)).stdout
    file, good = tmp_path / "cut", 0
    for cut in range(len(data) + 1):
        file.write_bytes(data[:cut])
        done = subprocess.run([TCPDIAG, "decode", "--format", "jsonl", "--input", form, file], capture_output=True, check=False, timeout=60)
        found = lines(done)
        assert [r["mark"] for r in found] == [1234 + i for i in range(len(found))]
        assert done.returncode in (0, DATA), done.stderr
        good += done.returncode == 0
        if done.returncode == DATA:
            said, = done.stderr.decode().splitlines()
            assert f"{file}: offset " in said
    assert done.returncode == 0 and len(found) == 3
    # An empty file, one behind each record with or without its newline, and behind a line of names.
    assert good <= {"jsonl": 7, "msgpack": 4, "protoJson": 3, "protoText": 7, "csv": 5, "tsv": 5}[form]


@pytest.mark.parametrize("form, data, sentence", [
    ("jsonl", b'{"netns":"a","mark":1}\n{"netns":"b","mark":4294967296}\n', "offset 23: line 2: mark: '4294967296' is no value of it"),
    ("jsonl", b'{"netns":"a","mark":1}\n{"colour":1}\n', "offset 23: line 2: it has no field of a record"),
    ("jsonl", b'{"netns":"a","mark":-1}\n', "line 1: mark: '-1' is no value of it"),
    ("protoJson", b'{"rows":[]}\n', "line 1: not an Envelope"),
    ("protoText", b'row { netns: "a" }\nrow { mark: x }\n', "row 2: mark: 'x' is no value of it"),
    ("protoText", b'row { netns "a" }\n', "row 1: netns: no value behind a colon"),
    ("protoText", b'rows { netns: "a" }\n', "row 1: not row { ... }"),
    ("protoText", b'row { inet_diag_msg_socket_source: "abc" }\n', "inet_diag_msg_socket_source: 'abc' is no value of it"),
    ("csv", b"netns,mark\na,1\nb\n", "offset 15: line 3: 1 cells, where the first line names 2"),
    ("csv", b"netns,mark\na,1,2\n", "line 2: 3 cells, where the first line names 2"),
    ("csv", b"netns,mark\na,12", "line 2: cut short"),
    ("csv", b"netns,mark\na,one\n", "line 2: mark: 'one' is no value of it"),
    ("csv", b"colour,weight\nred,1\n", "line 1: it names no field of a record"),
    ("csv", b'netns,mark\n"a,1\n', "line 2: cut short"),
    ("tsv", b"netns\tmark\na\tx\n", "line 2: mark: 'x' is no value of it"),
    ("msgpack", msgpack.packb({"netns": "a"}) + msgpack.packb({"netns": 1}), "map 2: netns: what is there is no value of it"),
    ("msgpack", msgpack.packb({"mark": -1}), "map 1: mark: what is there is no value of it"),
    ("msgpack", msgpack.packb({"mark": 1.5}), "map 1: mark: what is there is no value of it"),
    ("msgpack", msgpack.packb([1, 2]), "map 1: not a map, or cut short"),
    ("msgpack", b"\xc1", "map 1: not a map"),
    ("msgpack", b"\xdf\xff\xff\xff\xff", "map 1: not a map, or cut short"),
])
def test_what_is_wrong_is_told(form, data, sentence):
    done = run("--format", "jsonl", "--input", form, "-", data=data, code=DATA)
    said, = done.stderr.decode().splitlines()
    assert sentence in said, said


@pytest.mark.parametrize("form", WITH_ENDS + WITHOUT)
def test_damage_never_breaks_it(form):
    """Whatever is in the file: records or one line, never a crash."""
    chance = random.Random(25)
    good = run("--format", form, "-", data=delimited([some_of_ours(chance) for _ in range(6)])).stdout
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        done = subprocess.run([TCPDIAG, "decode", "--format", "jsonl", "--input", form, "-"], input=bytes(data), capture_output=True,
                              check=False, timeout=60)
        assert done.returncode in (0, DATA), done.stderr.decode()
        assert len(done.stderr.splitlines()) == (done.returncode == DATA)
        lines(done)


@pytest.mark.parametrize("form", ["jsonl", "msgpack", "protoText", "csv"])
def test_a_live_pipe_is_not_held_back(form):
    """What has come is printed while more is waited for."""
    texts = [run("--format", form, "-", data=framed).stdout for framed in (delimited([ours(mark=i, hostname="h" * 64)]) for i in range(3))]
    with subprocess.Popen([TCPDIAG, "decode", "--format", "jsonl", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for mark, text in enumerate(texts):
            process.stdin.write(text.split(b"\n", 1)[1] if form == "csv" and mark > 0 else text)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["mark"] == mark
        process.stdin.close()
        assert process.wait(60) == 0
