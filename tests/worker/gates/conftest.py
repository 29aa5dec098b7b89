from tests.worker.stream.conftest import bootstrap, kafka, refused_connections

__all__ = ["bootstrap", "kafka", "refused_connections"]
