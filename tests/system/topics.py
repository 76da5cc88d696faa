"""Kafka in the system tests: real brokers, and an independent client that reads every message back."""
import pathlib
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import harness
from harness import ROOT, wait_for

sys.path.insert(0, str(ROOT / "tests" / "servers"))
import kafka_broker  # noqa: E402  (its folder is known only now)

Broker, WITH_SCRAM, USER, PASSWORD = kafka_broker.Broker, kafka_broker.WITH_SCRAM, kafka_broker.USER, kafka_broker.PASSWORD


class Topic:
    """A topic of a test's own."""

    def __init__(self, broker, partitions=1, make=True, **settings):
        self.broker, self.name, self.partitions = broker, harness.unique("topic"), partitions
        self.settings = {key.replace("_", "."): str(value) for key, value in settings.items()}
        if make:
            self.make()

    def make(self):
        admin = AdminClient({"bootstrap.servers": self.broker.address()})
        admin.create_topics([NewTopic(self.name, self.partitions, 1, config=self.settings)])[self.name].result(30)
        wait_for(self.known, 30, f"{self.name} to be known")

    def known(self):
        try:
            self.count()
        except KafkaException:
            return False
        return True

    def words(self, listener="PLAINTEXT"):
        return ["--sink", "kafka", "--kafka-brokers", self.broker.address(listener), "--kafka-topic", self.name]

    def messages(self):
        return list(self.each())

    def each(self):
        """All that are in it now, in the order of each partition."""
        consumer = Consumer({"bootstrap.servers": self.broker.address(), "group.id": harness.unique("group"),
                             "enable.auto.commit": False, "enable.partition.eof": False})
        try:
            for partition in range(self.partitions):
                first, after = consumer.get_watermark_offsets(TopicPartition(self.name, partition), timeout=30)
                consumer.assign([TopicPartition(self.name, partition, first)])
                while first < after:
                    message = consumer.poll(30)
                    assert message is not None and message.error() is None, message and message.error()
                    yield message
                    first = message.offset() + 1
        finally:
            consumer.close()

    def count(self):
        consumer = Consumer({"bootstrap.servers": self.broker.address(), "group.id": harness.unique("group")})
        try:
            marks = [consumer.get_watermark_offsets(TopicPartition(self.name, p), timeout=30) for p in range(self.partitions)]
            return sum(after - first for first, after in marks)
        finally:
            consumer.close()


def headers(message):
    return {name: value.decode() for name, value in message.headers()}


def secret(folder, text, name="password"):
    path = pathlib.Path(folder) / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def produce(topic, messages):
    """Messages of another topic, as they are, in this order."""
    producer = Producer({"bootstrap.servers": topic.broker.address()})
    for message in messages:
        producer.produce(topic.name, message.value(), message.key(), headers=message.headers())
    assert producer.flush(30) == 0
