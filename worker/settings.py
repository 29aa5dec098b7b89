"""Every setting of the worker, by environment variable. `tidegate doctor` prints them with their meanings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from calibration.outcome import Probability
from calibration.settings import KafkaSettings
from review.settings import ReviewSettings, ValkeySettings


class StreamSettings(BaseSettings):
    """How the worker consumes and commits, read from `TIDEGATE_STREAM_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_STREAM_", frozen=True, extra="ignore")

    group_id: str = Field("tidegate-worker", description="consumer group; its members share the partitions")
    window_events: int = Field(512, gt=0, description="events in flight at most; above it partitions are paused")
    window_bytes: int = Field(256_000_000, gt=0, description="bytes of events in flight at most")
    poll_ms: int = Field(100, gt=0, description="longest wait of one poll")
    fetch_max_wait_ms: int = Field(200, gt=0, description="how long a broker may wait for records before it answers")
    session_timeout_ms: int = Field(45_000, gt=0, description="a worker that is silent this long loses its partitions")
    heartbeat_interval_ms: int = Field(3_000, gt=0, description="at most a third of the session timeout")
    max_poll_interval_ms: int = Field(
        300_000, gt=0, description="a worker that does not poll this long loses its partitions, and liveness fails"
    )
    commit_interval_s: float = Field(1.0, gt=0, description="how often the contiguous durable prefix is committed")
    drain_s: float = Field(25.0, gt=0, description="deadline for events in flight at a stop or a rebalance")
    stall_warn_s: float = Field(
        60.0, gt=0, description="a partition that is behind and frozen this long is named in the log"
    )
    stall_fatal_s: float = Field(600.0, gt=0, description="frozen this long, liveness fails")
    outage_s: float = Field(300.0, gt=0, description="Kafka or Valkey away for this long: exit uncommitted")
    dead_letter_share: Probability = Field(
        0.5, description="stop when more of the last events than this were dead letters"
    )
    dead_letter_window: int = Field(200, gt=0, description="how many of the last events that share is taken over")


class IntakeSettings(BaseSettings):
    """What images are taken, read from `TIDEGATE_INTAKE_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_INTAKE_", frozen=True, extra="ignore")

    object_store: str | None = Field(
        None, description="where object keys live: s3://bucket/prefix, gs://, az:// or file:///folder"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description='JSON list of hosts that URLs may name: ["cdn.example.com", "*.example.net"]; empty refuses all',
    )
    allow_private_addresses: bool = Field(
        False, description="for tests and closed networks only: lifts the address guard"
    )
    fetch_timeout_s: float = Field(15.0, gt=0, description="of one whole download")
    fetch_attempts: int = Field(4, gt=0, description="tries in all, with exponential backoff and jitter")
    fetch_concurrency: int = Field(
        128, gt=0, description="originals fetched and not yet decoded; with max_bytes it bounds their memory"
    )
    max_redirects: int = Field(3, ge=0, description="of one download; each is checked like its first URL")
    max_bytes: int = Field(20_000_000, gt=0, description="of one image as it was uploaded")
    max_pixels: int = Field(50_000_000, gt=0, description="width x height of the original, checked before decoding")
    max_aspect_ratio: float = Field(200.0, gt=1, le=200, description="200 is the model's own limit")
    max_frames: int = Field(1000, gt=0, description="of an animation; only the first frame is read")
    min_side: int = Field(
        8, gt=0, description="an image with a smaller side is too tiny to be read and goes to a person"
    )
    decode_processes: int = Field(2, gt=0, description="images decoded at a time, each in a process of its own")
    decode_timeout_s: float = Field(10.0, gt=0, description="wall clock, after which the decoding process is killed")
    decode_memory_mb: int = Field(2048, gt=0, description="address space of one decoding process")
    reading_cache_ttl_s: int = Field(
        86400, ge=0, description="how long a reading is reused for identical bytes; 0 never"
    )


class EngineSettings(BaseSettings):
    """Which model answers and how, read from `TIDEGATE_ENGINE_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_ENGINE_", frozen=True, extra="ignore")

    kind: Literal["vllm", "http", "scripted"] = Field(
        "vllm", description="vllm in this process, http for a server elsewhere, scripted for load tests"
    )
    model: str = Field("wudq/EmoCaliber", description="folder or hub name of a Qwen2.5-VL or Qwen3-VL")
    revision: str | None = Field(None, description="commit of a hub model")
    profile: Literal["auto", "gpu", "cpu"] = Field("auto", description="auto takes the one whose vLLM is installed")
    dtype: str = Field("auto", description="auto: bfloat16 on a GPU, float32 on a CPU")
    max_model_len: int = Field(4096, gt=0, description="tokens of question and answer together")
    max_tokens: int = Field(1024, gt=0, description="of one answer; a longer one is truncated and goes to a person")
    max_num_seqs: int = Field(256, gt=0, description="sequences in one batch")
    max_num_batched_tokens: int = Field(16384, gt=0, description="tokens in one step of the engine")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of the GPU's memory that vLLM takes")
    kv_cache_gb: float = Field(1.0, gt=0, description="on a CPU")
    tensor_parallel_size: int = Field(1, gt=0, description="GPUs that share one model")
    temperature: float = Field(0.0, ge=0, description="0 is greedy: the same image gives the same reading again")
    min_pixels: int | None = Field(None, gt=0, description="resize bound; default: the checkpoint's, else 200704")
    max_pixels: int | None = Field(None, gt=0, description="resize bound; default: the checkpoint's, else 451584")
    start_timeout_s: float = Field(1200.0, gt=0, description="for loading the model")
    attempts: int = Field(
        4, gt=0, description="tries of one request while the engine is busy; then it goes to a person"
    )
    answer_timeout_s: float = Field(120.0, gt=0, description="of one answer, queueing in the engine included")
    url: str = Field("http://127.0.0.1:8000/v1", description="kind http: base address of an OpenAI-compatible server")
    api_key: SecretStr | None = Field(None, description="kind http")
    script: Path | None = Field(None, description="kind scripted: a YAML file of readings and of the card to imitate")


class SecondLookSettings(BaseSettings):
    """Whether doubtful readings are asked again, read from `TIDEGATE_SECOND_LOOK_*`. To change one voids every gate."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_SECOND_LOOK_", frozen=True, extra="ignore")

    samples: int = Field(
        0, ge=0, le=64, description="further answers drawn for a reading in the grey zone; 0 turns the second look off"
    )
    temperature: float = Field(0.7, gt=0, le=2, description="at which they are drawn")
    low: Probability = Field(
        0.6, description="the grey zone: label probabilities (where there is none, confidences) from this on"
    )
    high: Probability = Field(0.98, description="up to this; what it should hold is where thresholds may come to lie")

    @model_validator(mode="after")
    def _zone(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the grey zone is empty: LOW is {self.low:g} and HIGH is {self.high:g}")
        return self


class GateSettings(BaseSettings):
    """Which gate applies, read from `TIDEGATE_GATE_*`: what the `gates` topic says, unless another one is set here."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_GATE_", frozen=True, extra="ignore")

    file: Path | None = Field(None, description="a gate document (JSON) that applies instead of the gates topic")
    uncertified_threshold: Probability | None = Field(
        None,
        description="accept above this label probability, without a certificate, whatever the gates topic says; "
        "every decision says so",
    )
    severe_labels: frozenset[str] = Field(
        frozenset(), description="with uncertified_threshold: JSON list of labels that always go to a person"
    )
    audit_rate: Probability = Field(
        0.02, description="with uncertified_threshold: share of the readings that a person sees blind"
    )
    audit_key: SecretStr | None = Field(
        None,
        min_length=1,
        description="secret of the audit draw, the same on all workers; without it nothing may pass or be drawn",
    )
    replay_s: float = Field(
        10.0, gt=0, description="how long a start waits for the gates topic; then it begins with everything closed"
    )


class ServingSettings(BaseSettings):
    """The worker's own HTTP port and taxonomies, read from `TIDEGATE_WORKER_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_WORKER_", frozen=True, extra="ignore")

    host: str = Field("0.0.0.0", description="address of /metrics, /live and /ready")  # noqa: S104 - scraped from outside
    port: int = Field(9464, ge=0, le=65535, description="0 takes any free port")
    taxonomies: Path | None = Field(
        None, description="folder of further taxonomy files; a same name replaces a shipped one"
    )


class Settings:
    """All settings together, read from the environment when made."""

    def __init__(self) -> None:
        self.kafka = KafkaSettings()
        self.valkey = ValkeySettings()
        self.review = ReviewSettings()
        self.stream = StreamSettings()
        self.intake = IntakeSettings()
        self.engine = EngineSettings()
        self.second_look = SecondLookSettings()
        self.gate = GateSettings()
        self.worker = ServingSettings()
