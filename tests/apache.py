"""Apache Kafka for tests: one KRaft node in a process of its own, from Maven artefacts."""

from __future__ import annotations

import functools
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from pydantic import SecretStr

from calibration.settings import KafkaSettings
from deploy.local import LocalServer, free_port

_POM = Path(__file__).with_name("apache.pom.xml")
_USER, _PASSWORD = "moderator", "a tide gate"
_CLUSTER_ID = "dGlkZWdhdGUtdGVzdHMtMQ"  # any 16 bytes in base64


def missing_parts() -> str | None:
    """What keeps this machine from running Apache Kafka, in words; None when nothing does."""
    for command in ("java", "mvn", "openssl"):
        if shutil.which(command) is None:
            return f"Apache Kafka needs Java 17 or newer, Maven and openssl: there is no `{command}` on the path"
    version = _run("java", "-version")
    number = re.search(r'version "(\d+)', version)
    if number is None or int(number[1]) < 17:
        return f"Apache Kafka needs Java 17 or newer, not {version.splitlines()[0]}"
    return None


class ApacheKafka(LocalServer):
    """A broker and controller on 127.0.0.1. What it keeps is in `folder`, so `start` brings it back after `kill`.

    Its listeners: PLAINTEXT (`bootstrap`), SASL_PLAINTEXT with PLAIN, SASL_SSL with SCRAM-SHA-512, and SSL that wants a
    certificate of the client. `properties` go over the defaults below, which are those of a small, quick node.
    """

    name = "apache-kafka"
    start_s = 60.0
    stop_s = 20.0

    def __init__(self, folder: Path, properties: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._properties = dict(properties or {})
        self._ports = {"PLAINTEXT": self.port} | {
            name: free_port() for name in ("SASL_PLAINTEXT", "SASL_SSL", "SSL", "CONTROLLER")
        }
        self._certificate = folder / "certificate.pem"
        self._key = folder / "key.pem"

    @property
    def bootstrap(self) -> str:
        """What clients without authentication take as `bootstrap_servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def plain(self) -> KafkaSettings:
        """How a client logs in with a password, in clear text."""
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{self._ports['SASL_PLAINTEXT']}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=_USER,
            sasl_password=SecretStr(_PASSWORD),
        )

    @property
    def scram(self) -> KafkaSettings:
        """How a client logs in with a salted challenge, over TLS."""
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{self._ports['SASL_SSL']}",
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=_USER,
            sasl_password=SecretStr(_PASSWORD),
            ssl_cafile=self._certificate,
        )

    @property
    def mutual_tls(self) -> KafkaSettings:
        """How a client shows a certificate of its own."""
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{self._ports['SSL']}",
            security_protocol="SSL",
            ssl_cafile=self._certificate,
            ssl_certfile=self._certificate,
            ssl_keyfile=self._key,
        )

    def _command(self) -> list[str]:
        config = self.folder / "server.properties"
        if not config.exists():
            self._prepare(config)
        return [*_java("-Xmx512m", "-Dlog4j2.level=WARN"), "kafka.Kafka", str(config)]

    def _prepare(self, config: Path) -> None:
        """Make keys, configuration and the data folder."""
        subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        files = ("-keyout", str(self._key), "-out", str(self._certificate))
        _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7", *subject, *files)
        both = self.folder / "both.pem"
        both.write_text(self._key.read_text() + self._certificate.read_text())

        login = "org.apache.kafka.common.security"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports['CONTROLLER']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()),
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in self._ports
            ),
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f'{login}.plain.PlainLoginModule required user_{_USER}="{_PASSWORD}";'
            ),
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._certificate),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "broker.session.timeout.ms": "2000",  # a killed node has to wait this long before it may be itself again
            "broker.heartbeat.interval.ms": "500",
            "log.cleaner.backoff.ms": "200",
            **self._properties,
        }
        # The file appears last, so that a start that was cut short is begun again.
        draft = config.with_suffix(".draft")
        draft.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        user = f"SCRAM-SHA-512=[name={_USER},password={_PASSWORD}]"
        ids = ("-t", _CLUSTER_ID, "-c", str(draft))
        _run(*_java("-Xmx128m"), "kafka.tools.StorageTool", "format", *ids, "--add-scram", user, "--ignore-formatted")
        draft.rename(config)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            client = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=1000)
        except (OSError, KafkaError):
            return False
        try:
            return bool(client.describe_cluster()["brokers"])
        finally:
            client.close()


def _java(*options: str) -> list[str]:
    java = shutil.which("java")
    assert java is not None, missing_parts()
    # One quick compiler and one collector thread: a node that lives for a minute gains nothing from more.
    return [java, *options, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", _class_path()]


@functools.cache
def _class_path() -> str:
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "class-path"
        _run("mvn", "-B", "-q", "-f", str(_POM), "dependency:build-classpath", f"-Dmdep.outputFile={answer}")
        return answer.read_text()


def _run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-2000:]}"
    return done.stdout
