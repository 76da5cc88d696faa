"""Records through a real S3 server that checks signatures, with and without faults, read back by independent clients."""
import contextlib
import re
import shutil
import signal
import subprocess

import duckdb
import pytest

import harness
from buckets import Bucket, Proxy, Server, jsonl, no_gaps, secret, unzstd
from harness import RecordFile, sockets, wait_for
from test_spool import Spooler, small_disk  # noqa: F401  (a fixture)

# Small objects, and soon.
SOON = "--object-age", "200ms", "--object-size", "64KiB"


@pytest.fixture(scope="module")
def server(base):
    with Server(base / "s3") as one:
        yield one


@pytest.fixture(scope="module")
def tls_server(base):
    with Server(base / "s3-tls", tls=True) as one:
        yield one


@pytest.fixture
def bucket(server, folder):
    return Bucket(server, folder)


@pytest.fixture
def proxy(server):
    with Proxy(server.port) as one:
        yield one


@pytest.fixture
def spooler(tcpdiag, folder):
    return Spooler(tcpdiag, folder)


def delivered(spooler, count=1):
    """More records at the sink, and what the books say then."""
    before = spooler.metrics.scrape().get("records_delivered_total")
    return spooler.metrics.wait_for(lambda m: m.get("records_delivered_total") >= before + count, 60, "records that are delivered")


def end(spooler):
    """No more load; all is delivered.  The last books."""
    spooler.namespacer.stop()
    return end_shipper(spooler)


def end_shipper(spooler):
    """When all is delivered, by its own books."""
    left = "rings", "records_held", "records_spooled"
    metrics = spooler.metrics.wait_for(lambda m: not any(m.get(name) for name in left), 60, "everything to be delivered")
    metrics.assert_balanced()
    spooler.shipper.stop()
    return metrics


def whole(bucket, metrics):
    """Each record is in one object and none is missing: as many as the books say, by the clients' count."""
    numbers = bucket.numbers()
    no_gaps(numbers)
    assert set(numbers.values()) == {1}, "a record is in two objects"
    assert len(numbers) == metrics.get("records_delivered_total")
    return numbers


# --- what is in the bucket -----------------------------------------------------------

def values(record):
    """As text, since jsonl writes what is larger than 2^53 so."""
    return {name: str(value) for name, value in record.items() if not isinstance(value, (list, dict))}


def test_every_value_is_in_the_bucket(tcpdiag, world, folder, server, bucket, spooler):
    """A spool, and a copy of it: one goes to the bucket, the other into a file, and both are the same records."""
    namespace = world.named("-l", "listen", "established:count=50")
    spooler.ship("--sink", "kafka", "--kafka-brokers", "127.0.0.1:1", "--kafka-topic", "t")
    spooler.name(namespace)
    spooler.wait_for_batches(4)
    spooler.namespacer.stop()
    spooler.shipper.stop()
    copy, file = Spooler(tcpdiag, folder), RecordFile(folder / "out.jsonl")
    copy.dir = folder / "copy"
    shutil.copytree(spooler.dir, copy.dir)
    for path in copy.dir.rglob("*"):
        shutil.chown(path, spooler.dir.stat().st_uid, spooler.dir.stat().st_gid)
    shutil.chown(copy.dir, spooler.dir.stat().st_uid, spooler.dir.stat().st_gid)
    copy.ship("--sink", f"file:{file.path}", "--format", "jsonl")
    copy.wait_until_empty()
    copy.shipper.stop()
    spooler.ship(*bucket.words(), *SOON, "--s3-prefix", "fleet/one")
    spooler.wait_until_empty()
    spooler.shipper.stop()
    keys = bucket.keys()
    assert all(re.fullmatch(r"fleet/one/(sockets|snapshots)/date=\d{4}-\d\d-\d\d/hour=\d\d/\S+-[0-9a-f]{16}-\d{10}\.parquet", key)
               for key in keys), keys
    rows = {(row["collector_epoch"], row["record_sequence"]): row for key in keys for row in bucket.rows(key)}
    records = {(int(record["collector_epoch"]), int(record["record_sequence"])): record for record in file.records()}
    assert len(records) > 200 and rows.keys() == records.keys()
    for key, record in records.items():
        for name in ("netns", "hostname", "inet_diag_msg_socket_source_port", "tcp_info_rtt", "tcp_info_bytes_acked",
                     "congestion_algorithm_string"):
            assert str(rows[key].get(name)) == str(record.get(name)), (key, name)
    duckdb_agrees(server, bucket, rows)


def duckdb_agrees(server, bucket, rows):
    """The same from the bucket itself, by another reader and another signer."""
    database = duckdb.connect()
    database.execute("LOAD httpfs")
    database.execute(f"""CREATE SECRET (TYPE s3, KEY_ID 'testkey', SECRET 'testsecret', REGION 'us-east-1', URL_STYLE 'path',
                         ENDPOINT '127.0.0.1:{server.port}', USE_SSL false)""")
    found = database.execute(f"""SELECT count(*), sum(inet_diag_msg_socket_source_port), min(date), count(DISTINCT netns)
        FROM read_parquet('s3://{bucket.name}/fleet/one/sockets/**/*.parquet', hive_partitioning = true)""").fetchone()
    ours = [row for row in rows.values() if "inet_diag_msg_socket_source_port" in row]
    assert found[0] == len(ours) and found[1] == sum(row["inet_diag_msg_socket_source_port"] for row in ours)
    assert found[2] is not None and found[3] == 1


@pytest.mark.parametrize("form, read", [("protobuf", lambda tcpdiag, data: tcpdiag.decode(unzstd(data))), ("jsonl", None)])
def test_other_formats(tcpdiag, world, bucket, spooler, form, read):
    namespace = world.named("-l", "established:count=20")
    spooler.ship(*bucket.words(), *SOON, "--format", form)
    spooler.name(namespace)
    delivered(spooler, 60)
    metrics = end(spooler)
    data = [bucket.get(key) for key in bucket.keys()]
    found = [record for one in data for record in (jsonl(one) if read is None else harness.parse_jsonl(read(tcpdiag, one).decode()))]
    assert len(found) == metrics.get("records_delivered_total")
    assert len(sockets(found)) >= 41


def test_https_by_an_authority_of_our_own(world, folder, tls_server, spooler):
    namespace, bucket = world.named("-l", "established:count=20"), Bucket(tls_server, folder)
    spooler.ship(*bucket.words(), *SOON)
    spooler.name(namespace)
    delivered(spooler, 60)
    whole(bucket, end(spooler))


def test_a_bucket_in_the_hosts_name(world, base, folder, spooler):
    namespace = world.named("-l", "established:count=5")
    with Server(base / harness.unique("s3-virtual"), domain="localhost") as server:
        bucket = Bucket(server, folder)
        spooler.ship(*bucket.words(f"http://localhost:{server.port}"), *SOON, "--s3-style", "virtual")
        spooler.name(namespace)
        delivered(spooler, 20)
        metrics = end(spooler)
        whole(bucket, metrics)


def test_the_right_to_write_is_enough(world, folder, bucket, spooler):
    namespace = world.named("-l", "established:count=5")
    bucket.admit(user := harness.unique("agent"), "agentsecret", "s3:PutObject")
    spooler.ship(*bucket.words(access=secret(folder, "agent", user), key=secret(folder, "agent-key", "agentsecret")), *SOON)
    spooler.name(namespace)
    delivered(spooler, 20)
    whole(bucket, end(spooler))


def test_a_large_object_goes_in_parts(world, bucket, proxy, spooler):
    """With one that fails in the middle: what was sent of it is cleared, and all of it comes."""
    namespace = world.named("-l", "established:count=1000")
    spooler.ship(*bucket.words(proxy.endpoint), "--format", "csv", "--object-age", "1h", "--s3-multipart", "5MiB", "--spool-size", "256MiB")
    fault = proxy.fault("status", path="partNumber=2", status=503, body="<Error><Code>SlowDown</Code></Error>")
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("records_spooled") > 12000, 60, "records")
    spooler.namespacer.stop()
    spooler.metrics.wait_for(lambda m: m.get("rings") == 0, 20, "the rings' end")
    spooler.shipper.stop()
    spooler.ship(*bucket.words(proxy.endpoint), "--format", "csv", "--object-age", "100ms", "--s3-multipart", "5MiB", "--spool-size", "256MiB")
    metrics = end_shipper(spooler)
    assert fault.done == 1 and bucket.open_uploads() == []
    assert any("partNumber=1" in path for _, path, _ in proxy.requests)
    lines = sum(len(bucket.get(key).splitlines()) - 1 for key in bucket.keys())
    assert lines == metrics.get("records_delivered_total") > 12000


# --- what goes wrong -------------------------------------------------------------------

@pytest.mark.parametrize("name, sentence", [
    ("a wrong secret", r"status 403 SignatureDoesNotMatch: "),
    ("a key that nobody has", r"status 403 InvalidAccessKeyId: "),
    ("no such bucket", r"status 404 NoSuchBucket: "),
    ("nobody listens", r"s3: http://127\.0\.0\.1:1/.* port 1 .*(?i:connect)"),
    ("no right", r"status 403 AccessDenied: "),
    ("another region", r"status 400 AuthorizationHeaderMalformed: "),
    ("a wrong clock", r"the clocks are too far apart: here it is \d{8}T\d{6}Z \(UTC\), at the server \w{3}, \d\d "),
    ("another authority", r"s3: https://.*certificate"),
    ("a server that says nothing", r"Operation too slow|timed out|Timeout"),
])
def test_it_says_what_is_wrong_and_loses_nothing(world, folder, server, tls_server, proxy, spooler, name, sentence):
    """The sentence comes within seconds, and what cannot be sent stays in the spool.  Mended, all of it comes."""
    namespace = world.named("-l", "listen")
    bucket = Bucket(tls_server if name == "another authority" else server, folder, make=name != "no such bucket")
    words = {
        "a wrong secret": lambda: bucket.words(key=secret(folder, "wrong", "wrong")),
        "a key that nobody has": lambda: bucket.words(access=secret(folder, "wrong", "wrong")),
        "no such bucket": bucket.words,
        "nobody listens": lambda: bucket.words("http://127.0.0.1:1"),
        "no right": lambda: reader(bucket, folder),
        "another region": lambda: [*bucket.words(), "--s3-region", "eu-west-1"],
        "a wrong clock": lambda: bucket.words(proxy.endpoint),
        "another authority": lambda: [*bucket.words(), "--s3-ca-file", bucket.server.certificate("other.pem")],
        "a server that says nothing": lambda: [*bucket.words(proxy.endpoint), "--s3-timeout", "1s"],
    }[name]()
    if name == "a wrong clock":
        proxy.fault("stale", times=1000, seconds=16 * 60)
    if name == "a server that says nothing":
        proxy.fault("hold", times=1000)
    spooler.ship(*words, *SOON)
    spooler.name(namespace)
    wait_for(lambda: re.search(sentence, spooler.shipper.log()), 20, f"{sentence} in the log")
    assert len(re.findall(sentence, spooler.shipper.log())) <= 3, spooler.shipper.log()
    spooler.metrics.wait_for(lambda m: m.sum("object_failures_total") > 0 and m.get("records_spooled") > 3, 20, "what is held")
    spooler.namespacer.stop()
    spooler.shipper.stop()
    assert spooler.list()["records"] > 3
    proxy.clear()
    proxy.release()
    if name == "no such bucket":
        bucket.make()
    # As after a person's restart.
    spooler.ship(*bucket.words(), *SOON)
    spooler.wait_until_empty()
    no_gaps(bucket.numbers())
    spooler.balanced()
    spooler.shipper.stop()


def reader(bucket, folder):
    bucket.admit(user := harness.unique("agent"), "agentsecret", "s3:GetObject")
    return bucket.words(access=secret(folder, "agent", user), key=secret(folder, "agent-key", "agentsecret"))


@pytest.mark.parametrize("words, key, sentence", [
    ([], "s3-bucket", "needs s3-bucket"),
    (["--s3-bucket", "b/c"], "s3-bucket", "3 to 63"),
    (["--s3-bucket", "bucket"], "s3-access-key-file", "needs s3-access-key-file and s3-secret-key-file"),
    (["--s3-bucket", "bucket", "--s3-endpoint", "minio:9000"], "s3-endpoint", "is not http://HOST"),
    (["--s3-bucket", "bucket", "--s3-access-key-file", "/a", "--s3-secret-key-file", "/b", "--s3-prefix", "a//b"], "s3-prefix", "empty part"),
    (["--s3-bucket", "bucket", "--s3-access-key-file", "/a", "--s3-secret-key-file", "/b", "--format", "table"], "format", "parquet"),
])
def test_what_cannot_be_is_said_at_the_start(tcpdiag, words, key, sentence):
    done = tcpdiag.run("run", "--sink", "s3", *words)
    assert done.returncode == 64 and f"--{key}: " in done.stderr or f"{key}: " in done.stderr, done.stderr
    assert sentence in done.stderr, done.stderr


def test_a_missing_secret_is_named(tcpdiag, world, folder):
    done = tcpdiag.run("--sink", "s3", "--s3-bucket", "bucket", "--socket", tcpdiag.socket, "--spool", folder / "spool",
                       "--s3-access-key-file", folder / "nosuch", "--s3-secret-key-file", folder / "nosuch", program="tcpdiag-shipper")
    assert done.returncode != 0 and f"s3-access-key-file: {folder}/nosuch: No such file" in done.stderr


# --- faults ------------------------------------------------------------------------------

@pytest.mark.timeout(240)
def test_faults_in_turn(world, bucket, proxy, spooler):
    """500, 503, a reset in the middle of a body, a slow server, an answer that comes too late, a server that is away: all is there, once."""
    namespace = world.named("-l", "established:count=100")
    spooler.ship(*bucket.words(proxy.endpoint), *SOON, "--s3-timeout", "2s")
    spooler.name(namespace)
    delivered(spooler)
    for kind, words in (("status", {"status": 500, "body": "<Error><Code>InternalError</Code></Error>"}),
                        ("status", {"status": 503, "body": "<Error><Code>SlowDown</Code></Error>"}),
                        ("reset", {}), ("slow", {"rate": 20000})):
        fault = proxy.fault(kind, **words)
        wait_for(lambda fault=fault: fault.done, 20, f"a request that meets {kind}")
        delivered(spooler)
    proxy.fault("hold")
    spooler.metrics.wait_for(lambda m: m.get("object_failures_total", **{"class": "timeout"}) > 0, 30, "an answer that is not waited for")
    delivered(spooler)
    proxy.release()
    proxy.down()
    spooler.metrics.wait_for(lambda m: m.sum("object_failures_total", **{"class": "unreachable"}) > 1, 20, "a failure")
    proxy.up()
    delivered(spooler)
    metrics = end(spooler)
    whole(bucket, metrics)
    for kind in ("other", "busy", "unreachable", "timeout"):
        assert metrics.get("object_failures_total", **{"class": kind}) > 0, kind
    assert metrics.sum("records_dropped_total") == 0
    assert proxy.count(status=412) > 0, "the answer that came too late was one of success"


def test_a_server_that_is_killed_and_comes_back(world, base, folder, spooler):
    namespace = world.named("-l", "established:count=50")
    with Server(base / harness.unique("s3-killed")) as server:
        bucket = Bucket(server, folder)
        spooler.ship(*bucket.words(), *SOON)
        spooler.name(namespace)
        delivered(spooler)
        server.end(signal.SIGKILL)
        spooler.metrics.wait_for(lambda m: m.sum("object_failures_total") > 1, 20, "a failure")
        server.start()
        delivered(spooler)
        whole(bucket, end(spooler))


@pytest.mark.parametrize("kind", ["half", "hold"])
def test_killed_at_the_worst_moment(world, bucket, proxy, spooler, kind):
    """In the middle of an upload, and when it is done but not answered.  The next life, which makes smaller objects, makes the same again."""
    namespace = world.named("-l", "established:count=100")
    spooler.ship(*bucket.words(proxy.endpoint), "--object-age", "1s")
    spooler.name(namespace)
    delivered(spooler)
    assert proxy.fault(kind).reached.wait(20 * harness.PATIENCE), "an upload"
    spooler.kill()
    proxy.release()
    keys = bucket.keys()
    spooler.ship(*bucket.words(proxy.endpoint), "--object-age", "100ms", "--object-size", "16KiB", "--batch-rows", "50")
    delivered(spooler, 500)
    metrics = end(spooler)
    numbers = bucket.numbers()
    no_gaps(numbers)
    assert set(numbers.values()) == {1}, "a record is in two objects"
    assert metrics.sum("records_dropped_total") == 0
    assert proxy.count(status=412) == (1 if kind == "hold" else 0)
    assert set(keys) < set(bucket.keys())


def test_two_hosts_of_one_name(tcpdiag, world, folder, bucket):
    """Neither overwrites what the other has sent."""
    hosts = []
    for number in range(2):
        place = folder / f"host{number}"
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        programs = harness.Tcpdiag(place)
        tcpdiag.daemons, programs.daemons = [*tcpdiag.daemons], tcpdiag.daemons
        hosts.append(Spooler(programs, place))
        hosts[-1].ship(*bucket.words(), *SOON, "--hostname", "web1")
        hosts[-1].name(world.named("-l", "established:count=20"))
    for host in hosts:
        delivered(host, 100)
    last = [end(host) for host in hosts]
    numbers = bucket.numbers()
    no_gaps(numbers)
    assert sum(numbers.values()) == len(numbers) == sum(metrics.get("records_delivered_total") for metrics in last)
    assert len({key.rsplit("-", 2)[1] for key in bucket.keys()}) == 2, "each has an epoch of its own in its keys"


def test_a_full_disk_under_the_spool(world, bucket, proxy, spooler, small_disk):  # noqa: F811
    """Others fill the disk while the server is away: what was reserved for the spool is enough, and nothing is lost."""
    namespace = world.named("-l", "established:count=100")
    subprocess.run(["mount", "-o", "remount,size=12m", small_disk], check=True)
    proxy.down()
    spooler.dir = small_disk / "spool"
    spooler.ship(*bucket.words(proxy.endpoint), *SOON, "--spool-size", "8MiB")
    spooler.name(namespace)
    spooler.metrics.wait_for(lambda m: m.get("records_spooled") > 200, 20, "records in the spool")
    with contextlib.suppress(OSError), open(small_disk / "others", "wb", buffering=0) as others:
        while others.write(bytes(65536)):
            pass
    assert shutil.disk_usage(small_disk).free < 65536
    before = spooler.metrics.scrape().get("records_spooled")
    spooler.metrics.wait_for(lambda m: m.get("records_spooled") > before + 1000, 20, "more records in the spool")
    proxy.up()
    delivered(spooler)
    metrics = end(spooler)
    assert metrics.sum("records_dropped_total") == 0
    whole(bucket, metrics)
