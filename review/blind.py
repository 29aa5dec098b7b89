"""What a moderator may see of a task before their verdict: for a blind one, nothing that the model said or led to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from review.lease import Entry
from review.task import ReviewTask

_BLIND = frozenset(
    {
        "event_id",
        "image",
        "content_sha256",
        "image_flags",
        "taxonomy",
        "labels",
        "priority",
        "blind",
        "uploader_id",
        "created_at",
    }
)
"""All that is shown of a blind task: a list of what is allowed, so that a new field is hidden until somebody decides.
The reason is not in it: "audit" says that the model was sure."""


def visible(task: ReviewTask) -> dict[str, Any]:
    """The fields that may be shown, as JSON values."""
    return task.model_dump(mode="json", include=set(_BLIND) if task.blind else None)


def listed(entry: Entry) -> dict[str, Any]:
    """An entry as everybody may see it in a list: how many answers there are, not which."""
    fields = asdict(entry)
    fields["answers"] = len(entry.answers)
    return fields
