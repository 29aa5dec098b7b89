"""The worker's side of Kafka: one thread owns each client, one object tracks what may be committed."""
