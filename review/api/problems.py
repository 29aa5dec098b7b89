"""Errors as answers: a status, a code for programs and a sentence for people."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from review.images import ImageUnavailableError
from review.lease import AlreadyDecidedError, NotHeldError, NotWaitingError, QueueError, UnreadableTaskError
from review.queue import QueueFullError, QueueUnavailableError
from review.verdicts import UnknownLabelError, VerdictNotSettledError, VerdictNotWrittenError

_KNOWN: tuple[tuple[type[Exception], HTTPStatus, str], ...] = (
    (NotHeldError, HTTPStatus.CONFLICT, "not_held"),
    (AlreadyDecidedError, HTTPStatus.CONFLICT, "already_decided"),
    (NotWaitingError, HTTPStatus.NOT_FOUND, "not_waiting"),
    (QueueUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "queue_unavailable"),
    (QueueFullError, HTTPStatus.SERVICE_UNAVAILABLE, "queue_full"),
    (UnreadableTaskError, HTTPStatus.CONFLICT, "unreadable_task"),
    (QueueError, HTTPStatus.CONFLICT, "refused"),
    (UnknownLabelError, HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_label"),
    (VerdictNotWrittenError, HTTPStatus.SERVICE_UNAVAILABLE, "not_written"),
    (VerdictNotSettledError, HTTPStatus.ACCEPTED, "not_settled"),
    (ImageUnavailableError, HTTPStatus.NOT_FOUND, "image_unavailable"),
)


class Problem(BaseModel):
    """Why something was not done."""

    code: str
    detail: str


def answer(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as JSON."""
    return JSONResponse(Problem(code=code, detail=detail).model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Have the app answer this room's errors as problems."""
    for kind, status, code in _KNOWN:

        async def handle(request: Request, error: Exception, status: int = status, code: str = code) -> JSONResponse:
            return answer(status, code, str(error))

        app.add_exception_handler(kind, handle)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", wrong)

    app.add_exception_handler(RequestValidationError, invalid)
