"""Feeding: what is sent arrives as an event, what cannot be is named."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from kafka import KafkaConsumer
from PIL import Image
from typer.testing import CliRunner

from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker
from review.task import KeyReference
from worker.cli import produce
from worker.events import ImageEvent, InlineImage
from worker.feed import Refusal, folder_events, line_events
from worker.stream.topics import ensure_topics

app = typer.Typer()
app.command()(produce)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "trip").mkdir()
    Image.effect_noise((64, 64), 50).save(tmp_path / "trip" / "a.png")
    Image.effect_noise((64, 64), 60).save(tmp_path / "b.JPG", "JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "huge.bmp").write_bytes(b"BM" + bytes(800_000))
    return tmp_path


def events(items: Iterable[ImageEvent | Refusal]) -> tuple[list[ImageEvent], list[Refusal]]:
    every = list(items)
    return [i for i in every if isinstance(i, ImageEvent)], [i for i in every if isinstance(i, Refusal)]


def test_a_folder_inline(photos: Path) -> None:
    sent, refused = events(folder_events(photos, taxonomy="scenes"))
    assert [event.metadata["file"] for event in sent] == ["b.JPG", "trip/a.png"]
    assert all(isinstance(event.image, InlineImage) for event in sent)
    assert [Path(refusal.where).name for refusal in refused] == ["huge.bmp"]
    assert all(ImageEvent.from_record(event.model_dump_json().encode()) == event for event in sent)


def test_a_folder_as_keys_takes_files_of_any_size(photos: Path) -> None:
    sent, refused = events(folder_events(photos, taxonomy="scenes", as_keys=True))
    assert [event.image for event in sent] == [KeyReference(key=key) for key in ("b.JPG", "huge.bmp", "trip/a.png")]
    assert not refused


def test_a_file_that_no_event_can_carry_is_refused_and_the_others_are_sent(photos: Path) -> None:
    (photos / "caf\udce9.png").write_bytes(b"")  # a name from before UTF-8
    deep = photos / ("d" * 250) / ("e" * 250) / ("f" * 250) / ("g" * 250)
    deep.mkdir(parents=True)
    (deep / f"{'h' * 200}.png").write_bytes(b"")
    sent, refused = events(folder_events(photos, taxonomy="scenes", as_keys=True))
    assert len(sent) == 3
    assert sorted(refusal.why for refusal in refused) == [
        "String should have at most 1024 characters",
        "its name is not UTF-8; rename it",
    ]
    assert all(refusal.where.encode() for refusal in refused)


def test_feeding_a_folder_again_gives_the_same_ids(photos: Path) -> None:
    first, second = (events(folder_events(photos, taxonomy="scenes"))[0] for _ in range(2))
    assert [event.event_id for event in first] == [event.event_id for event in second]


def test_lines_are_completed_and_bad_ones_are_named_by_number() -> None:
    lines = [
        b'{"image": {"key": "1.jpg"}}\n',
        b"\n",
        b"not json\n",
        b'{"image": {"key": "1.jpg"}, "event_id": "mine", "taxonomy": "fi-2", "priority": 90}\n',
        b'{"image": {}}\n',
        b"[1]\n",
    ]
    sent, refused = events(line_events(lines, taxonomy="scenes"))
    assert [(event.taxonomy, event.priority) for event in sent] == [("scenes", 50), ("fi-2", 90)]
    assert sent[1].event_id == "mine"
    assert [refusal.where for refusal in refused] == ["line 3", "line 5", "line 6"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker, kafka_settings: KafkaSettings) -> KafkaSettings:
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", kafka_settings.topic_prefix)
    ensure_topics(kafka_settings)
    return kafka_settings


def records(kafka: KafkaSettings, count: int) -> list[Any]:
    consumer = KafkaConsumer(kafka.topic("images"), **kafka.connection(), auto_offset_reset="earliest", group_id=None)
    try:
        return [next(consumer) for _ in range(count)]
    finally:
        consumer.close()


def test_produce_sends_a_folder(cluster: KafkaSettings, photos: Path) -> None:
    run = CliRunner().invoke(app, [str(photos), "--taxonomy", "scenes"])
    assert run.exit_code == 1  # one file did not fit
    assert "huge.bmp" in run.stderr
    report = json.loads(run.stdout)
    assert (report["sent"], report["refused"]) == (2, 1)
    for record in records(cluster, 2):
        event = ImageEvent.from_record(record.value)
        assert record.key == event.event_id.encode()
        assert isinstance(event.image, InlineImage)
        Image.open(io.BytesIO(event.image.data)).load()


@pytest.fixture
def producing(cluster: KafkaSettings) -> Iterator[subprocess.Popen[str]]:
    """`tidegate produce`, at the end of a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "produce", "-", "--taxonomy", "fi-2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def write(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdin is not None
    process.stdin.write(f'{{"image": {{"url": "https://a.example/{number}.jpg"}}}}\n')
    process.stdin.flush()


def test_produce_sends_each_line_of_a_pipe_as_it_comes(
    cluster: KafkaSettings, producing: subprocess.Popen[str]
) -> None:
    for number in range(2):
        write(producing, number)
        assert ImageEvent.from_record(records(cluster, number + 1)[-1].value).taxonomy == "fi-2"
    out, errors = producing.communicate(timeout=60)
    assert producing.returncode == 0, errors
    assert json.loads(out)["sent"] == 2


def test_ctrl_c_ends_a_pipe_that_stays_open(cluster: KafkaSettings, producing: subprocess.Popen[str]) -> None:
    write(producing, 0)
    records(cluster, 1)
    producing.send_signal(signal.SIGINT)
    assert producing.stderr is not None
    errors = producing.stderr.read()  # its standard input stays open
    assert producing.wait(60) == 130
    assert "stopped; what was sent before stays sent" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["/nowhere"], "/nowhere does not exist"), (["-", "--keys"], "only images from a folder")],
)
def test_wrong_usage_says_so(arguments: list[str], sentence: str) -> None:
    run = CliRunner().invoke(app, arguments, input="")
    assert run.exit_code == 2
    assert sentence in run.stderr


def test_a_cluster_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    run = CliRunner().invoke(app, [str(photos)])
    assert run.exit_code == 1
    assert "not sent: tidegate.images: cannot reach Kafka" in run.stderr
