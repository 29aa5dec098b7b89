"""The ledger: decisions and verdicts out of Kafka into Parquet, each exactly once, and what can be asked of them."""
