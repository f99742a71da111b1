"""The whole loop on this machine: real Kafka, real OpenSearch, two workers and a small language model, judged."""
