"""Kafka image events in, routed decisions out. For operators."""
