"""The job with Quix Streams (librdkafka): `python quix.py BROKERS IN OUT`."""

import sys

from quixstreams import Application

SIZE = 64

if __name__ == "__main__":
    brokers, source, target = sys.argv[1:]
    app = Application(
        broker_address=brokers, consumer_group=f"quix-{target}", auto_offset_reset="earliest", commit_every=SIZE,
        auto_create_topics=False, producer_extra_config={"acks": "all", "enable.idempotence": True, "linger.ms": 5},
        loglevel="ERROR",
    )  # fmt: skip
    rows = app.dataframe(app.topic(source, value_deserializer="bytes"))
    # A checkpoint every 64 messages: it flushes the producer, then commits.
    rows.to_topic(app.topic(target, value_serializer="bytes"))
    app.run()
