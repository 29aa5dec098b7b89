"""Errors as answers: a status, a code for programs and a sentence for people."""

from __future__ import annotations

from http import HTTPStatus

import duckdb
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kafka.errors import KafkaError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from calibration.ledger.place import LedgerError
from calibration.ledger.topic import TopicGapError
from calibration.loop.by_hand import ByHandRefusedError
from calibration.loop.service import GatesChangedError, UnreadableRecordError
from calibration.whatif.question import UnknownLabelError as UnknownToSurveyError
from calibration.whatif.reading import EmptyLedgerError
from review.access.refusals import (
    AccessError,
    AccessUnavailableError,
    AccountChangedError,
    AccountError,
    AccountExistsError,
    ForbiddenError,
    LastAdminError,
    NoSuchAccountError,
    RateLimitedError,
    SignInError,
)
from review.analysis.refusals import AnalysisError, NothingThereError, NotReadyError
from review.golden import GoldenError
from review.images import ImageUnavailableError
from review.lease import AlreadyDecidedError, NotHeldError, NotWaitingError, QueueError, VersionConflictError
from review.queue import QueueFullError, QueueUnavailableError
from review.verdicts import UnknownLabelError, VerdictNotSettledError, VerdictNotWrittenError

log = structlog.get_logger()

_KNOWN: tuple[tuple[type[Exception], HTTPStatus, str], ...] = (
    (NotHeldError, HTTPStatus.CONFLICT, "not_held"),
    (AlreadyDecidedError, HTTPStatus.CONFLICT, "already_decided"),
    (NotWaitingError, HTTPStatus.NOT_FOUND, "not_waiting"),
    (VersionConflictError, HTTPStatus.CONFLICT, "changed"),
    (QueueUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "queue_unavailable"),
    (QueueFullError, HTTPStatus.SERVICE_UNAVAILABLE, "queue_full"),
    (QueueError, HTTPStatus.CONFLICT, "refused"),
    (UnknownLabelError, HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_label"),
    (VerdictNotWrittenError, HTTPStatus.SERVICE_UNAVAILABLE, "not_written"),
    (VerdictNotSettledError, HTTPStatus.SERVICE_UNAVAILABLE, "not_settled"),
    (ImageUnavailableError, HTTPStatus.NOT_FOUND, "image_unavailable"),
    (GoldenError, HTTPStatus.CONFLICT, "golden"),
    (ForbiddenError, HTTPStatus.FORBIDDEN, "forbidden"),
    (SignInError, HTTPStatus.UNAUTHORIZED, "sign_in"),
    (NoSuchAccountError, HTTPStatus.NOT_FOUND, "no_such_account"),
    (AccountExistsError, HTTPStatus.CONFLICT, "account_exists"),
    (AccountChangedError, HTTPStatus.CONFLICT, "changed"),
    (LastAdminError, HTTPStatus.CONFLICT, "last_admin"),
    (AccountError, HTTPStatus.UNPROCESSABLE_ENTITY, "account"),
    (AccessUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "access_unavailable"),
    (AccessError, HTTPStatus.FORBIDDEN, "refused"),
    (NothingThereError, HTTPStatus.NOT_FOUND, "nothing_there"),
    (NotReadyError, HTTPStatus.SERVICE_UNAVAILABLE, "not_ready"),
    (AnalysisError, HTTPStatus.CONFLICT, "refused"),
    (ByHandRefusedError, HTTPStatus.CONFLICT, "refused"),
    (GatesChangedError, HTTPStatus.CONFLICT, "changed"),
    (UnreadableRecordError, HTTPStatus.CONFLICT, "unreadable"),
    (UnknownToSurveyError, HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_label"),
    (EmptyLedgerError, HTTPStatus.NOT_FOUND, "nothing_there"),
    (LedgerError, HTTPStatus.SERVICE_UNAVAILABLE, "ledger_unavailable"),
    (TopicGapError, HTTPStatus.SERVICE_UNAVAILABLE, "kafka_unavailable"),
    (KafkaError, HTTPStatus.SERVICE_UNAVAILABLE, "kafka_unavailable"),
)


class Problem(BaseModel):
    """Why something was not done."""

    code: str
    detail: str


def answer(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as JSON."""
    return JSONResponse(Problem(code=code, detail=detail).model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Have the app answer this project's errors as problems."""
    for kind, status, code in _KNOWN:

        async def handle(request: Request, error: Exception, status: int = status, code: str = code) -> JSONResponse:
            return answer(status, code, str(error))

        app.add_exception_handler(kind, handle)

    async def limited(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RateLimitedError)
        wait = {"retry-after": str(error.retry_after_s)}
        return answer(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", str(error), wait)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'] if part != 'body') or 'body'}: {each['msg']}"
            for each in error.errors()
        )
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", wrong)

    async def plain(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        return answer(
            error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"), error.detail, headers
        )

    async def unread(request: Request, error: Exception) -> JSONResponse:
        log.error("ledger not readable", method=request.method, path=request.url.path, error=str(error)[:500])
        sentence = "the ledger could not be read just now: try again; the server's log says more"
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "ledger_unavailable", sentence)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.exception("request failed", method=request.method, path=request.url.path, exc_info=error)
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "this went wrong here; the server's log says more")

    app.add_exception_handler(RateLimitedError, limited)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(duckdb.Error, unread)
    app.add_exception_handler(Exception, unforeseen)
