"""Every metric of the worker: name, unit, buckets and what it means. Nothing else declares one."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

# The stream
EVENTS_RECEIVED = Counter("tidegate_events_received_total", "Records polled from the images topic.")
EVENTS_IN_FLIGHT = Gauge("tidegate_events_in_flight", "Events between arrival and durable outcome.")
BYTES_IN_FLIGHT = Gauge("tidegate_in_flight_bytes", "Size of the records in flight.")
PARTITIONS_ASSIGNED = Gauge("tidegate_partitions_assigned", "Partitions this worker owns.")
PARTITIONS_PAUSED = Gauge("tidegate_partitions_paused", "Owned partitions that are paused by backpressure.")
PARTITIONS_STALLED = Gauge("tidegate_partitions_stalled", "Owned partitions that are behind and do not move.")
LAG = Gauge("tidegate_lag_events", "Records behind the head of an owned partition.", ["partition"])
OLDEST_UNCOMMITTED = Gauge("tidegate_oldest_uncommitted_seconds", "Age of the oldest event that is not yet committed.")
COMMITS = Counter("tidegate_commits_total", "Offset commits.", ["result"])
REBALANCES = Counter("tidegate_rebalances_total", "Assignments gained or lost.", ["kind"])
RECORDS_PRODUCED = Counter(
    "tidegate_records_produced_total", "Records acknowledged by all in-sync replicas.", ["topic"]
)
RETRIES = Counter("tidegate_retries_total", "Second and later tries.", ["part"])

# Outcomes
DECISIONS = Counter("tidegate_decisions_total", "Durable decisions.", ["route", "reason"])
DEAD_LETTERS = Counter("tidegate_dead_letters_total", "Durable dead letters.", ["reason"])
DEAD_LETTER_STOPS = Counter("tidegate_dead_letter_stops_total", "Times the dead-letter guard stopped the worker.")
UNFINISHED = Counter(
    "tidegate_unfinished_events_total", "Events given up uncommitted at a drain deadline; redelivered."
)

# One image's trip
DECISION_SECONDS = Histogram(
    "tidegate_decision_seconds", "From arrival at the worker to a durable decision.", buckets=_SECONDS
)
EVENT_AGE_SECONDS = Histogram(
    "tidegate_event_age_seconds", "From the event's creation to its decision.", buckets=_SECONDS
)
FETCH_SECONDS = Histogram("tidegate_fetch_seconds", "Fetching the bytes of one image.", ["source"], buckets=_SECONDS)
FETCH_BYTES = Counter("tidegate_fetch_bytes_total", "Bytes of images fetched.", ["source"])
PREPARE_SECONDS = Histogram(
    "tidegate_prepare_seconds", "Decoding and resizing one image, waiting included.", buckets=_SECONDS
)
DECODERS_KILLED = Counter("tidegate_decoders_killed_total", "Decoding processes killed or lost.", ["cause"])
CACHE = Counter("tidegate_reading_cache_total", "Look-ups of readings of identical images.", ["result"])

# The engine and its readings
ENGINE_SECONDS = Histogram("tidegate_engine_seconds", "One answer, queueing in the engine included.", buckets=_SECONDS)
ENGINE_IN_FLIGHT = Gauge("tidegate_engine_in_flight", "Requests inside the engine.")
ENGINE_TOKENS = Counter("tidegate_engine_tokens_total", "Tokens read and written.", ["kind"])
READINGS = Counter(
    "tidegate_readings_total", "Answers by parse status; not the cached ones.", ["status", "constrained"]
)
LABEL_MASS = Histogram(
    "tidegate_label_mass",
    "Probability of all candidate labels where the answer starts; low means the model wanted to say something else.",
    buckets=(0.1, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0),
)
SECOND_LOOKS = Counter(
    "tidegate_second_looks_total",
    "Readings in the grey zone, by how many of their further answers came: all, some or none.",
    ["answers"],
)
SECOND_LOOK_SAMPLES = Counter(
    "tidegate_second_look_samples_total",
    "Further answers to readings in the grey zone: same (label), other, unparsed, or failed (none came).",
    ["result"],
)

# Admission and gate; the queue itself is in review.telemetry
ADMITTING = Gauge("tidegate_admitting", "0 while no events are taken because Valkey is nearly full, else 1.")
GATE_CERTIFIED = Gauge(
    "tidegate_gate_certified", "1 while the gate in force holds a valid certificate, else 0.", ["taxonomy"]
)
GATE = Gauge("tidegate_gate", "1 for the gate in force.", ["taxonomy", "gate", "policy", "calibrator"])
GATE_SEQUENCE = Gauge(
    "tidegate_gate_sequence", "Step of the rollout in hand, as numbered on the gates topic; 0: none.", ["taxonomy"]
)
GATE_CHANGES = Counter("tidegate_gate_changes_total", "Records of the gates topic that took effect.", ["taxonomy"])
GATE_REFUSALS = Counter(
    "tidegate_gate_refusals_total", "Records of the gates topic that were refused; the last good one stays.", ["reason"]
)
GATE_SILENCE = Gauge("tidegate_gate_silence_seconds", "Since the gates topic was last read up to its end.")
WOULD_PASS = Counter(
    "tidegate_would_pass_total", "Decisions whose gate let them pass, those drawn for an audit included.", ["taxonomy"]
)
AUDITS = Counter("tidegate_audits_total", "Decisions drawn for a blind review.", ["taxonomy", "would_pass"])
