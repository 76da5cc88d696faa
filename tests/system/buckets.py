"""S3 in the system tests: real servers that check signatures, faults before them, and independent clients that read every object back."""
import collections
import io
import json
import subprocess
import sys

import boto3
import botocore.config
import pyarrow.parquet

import harness
from harness import ROOT, parse_jsonl

sys.path.insert(0, str(ROOT / "tests" / "servers"))
import fault_proxy  # noqa: E402  (its folder is known only now)
import s3_server  # noqa: E402

Server, Proxy, USER, SECRET, REGION = s3_server.Server, fault_proxy.Proxy, s3_server.USER, s3_server.SECRET, s3_server.REGION


def secret(folder, name, text):
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


class Bucket:
    """A bucket of a test's own, and how the sink is told of it."""

    def __init__(self, server, folder, make=True):
        self.server, self.folder, self.name = server, folder, harness.unique("bucket")
        self.files = [secret(folder, "access", USER), secret(folder, "secret", SECRET)]
        if make:
            self.make()

    def client(self):
        verify = str(self.server.certificate("ca.pem")) if self.server.tls else None
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5})
        return boto3.client("s3", endpoint_url=self.server.endpoint, aws_access_key_id=USER, aws_secret_access_key=SECRET,
                            region_name=REGION, verify=verify, config=config)

    def make(self):
        self.client().create_bucket(Bucket=self.name)

    def words(self, endpoint=None, access=None, key=None):
        tls = ["--s3-ca-file", self.server.certificate("ca.pem")] if self.server.tls else []
        return ["--sink", "s3", "--s3-endpoint", endpoint or self.server.endpoint, "--s3-bucket", self.name, *tls,
                "--s3-access-key-file", access or self.files[0], "--s3-secret-key-file", key or self.files[1]]

    def keys(self):
        client, found = self.client(), []
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            found += [one["Key"] for one in page.get("Contents", [])]
        return found

    def get(self, key):
        return self.client().get_object(Bucket=self.name, Key=key)["Body"].read()

    def rows(self, key):
        """Of an object in Parquet, without what is null."""
        table = pyarrow.parquet.read_table(io.BytesIO(self.get(key)))
        return [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]

    def numbers(self):
        """(collector_epoch, record_sequence) of each record of each object in Parquet, as often as it is there."""
        found = collections.Counter()
        for key in self.keys():
            table = pyarrow.parquet.read_table(io.BytesIO(self.get(key)), columns=["collector_epoch", "record_sequence"])
            found.update(zip(*(table[name].to_pylist() for name in ("collector_epoch", "record_sequence"))))
        return found

    def open_uploads(self):
        return [one["Key"] for one in self.client().list_multipart_uploads(Bucket=self.name).get("Uploads", [])]

    def admit(self, user, key, *actions):
        """A user of his own, who may do these things in the bucket and nothing else."""
        subprocess.run([s3_server.fetch(), "admin", "-a", USER, "-s", SECRET, "-er", self.server.endpoint, "create-user", "-a", user,
                        "-s", key, "-r", "user"], check=True, capture_output=True)
        policy = {"Statement": [{"Effect": "Allow", "Principal": [user], "Action": list(actions),
                                 "Resource": [f"arn:aws:s3:::{self.name}/*"]}]}
        self.client().put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))


def no_gaps(numbers):
    """Every record of each collector's life from its first on is there."""
    assert numbers
    by_epoch = {}
    for epoch, sequence in numbers:
        by_epoch.setdefault(epoch, set()).add(sequence)
    for epoch, sequences in by_epoch.items():
        missing = set(range(1, max(sequences) + 1)) - sequences
        assert not missing, f"{len(missing)} records of {epoch:016x} are missing, {min(missing)} the first"
    return by_epoch


def unzstd(data):
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout


def jsonl(data):
    return parse_jsonl(unzstd(data).decode())
