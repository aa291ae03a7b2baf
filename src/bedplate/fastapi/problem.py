"""Problem details (RFC 9457): the value, the exception to raise, and how either becomes an answer.

`problems.py` decides which error becomes which problem; here is only their form.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from fastapi.utils import is_body_allowed_for_status_code
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
# Python renamed these phrases in 3.13; titles and codes must not change with the interpreter.
_TITLES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

# What FastAPI would say of a 422 is not what is answered; given to every router.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457)",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "code"],
                    "properties": {
                        "type": {"type": "string", "format": "uri-reference"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "code": {"type": "string"},
                    },
                }
            }
        },
    }
}


class Problem(HTTPException):
    """An error to be answered as problem details; raised, so that nothing is committed.

    `code` is stable for programs (default: from the status), `detail` is for people, and
    `members` are the problem type's own additional members.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        title: str | None = None,
        type_uri: str = "about:blank",
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code or code_of(status)
        self.title = title or title_of(status)
        self.type_uri = type_uri
        self.members = members

    def response(self) -> Response:
        """The answer; without a body where the status allows none."""
        if not is_body_allowed_for_status_code(self.status_code):
            return Response(status_code=self.status_code, headers=self.headers)
        content = {
            "type": self.type_uri,
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return JSONResponse(content, self.status_code, self.headers, MEDIA_TYPE)


def title_of(status: int) -> str:
    """The status' phrase, the same on every Python."""
    if status in _TITLES:
        return _TITLES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def code_of(status: int) -> str:
    """A stable code for an error that has none of its own: 404 is `not_found`."""
    return title_of(status).lower().replace(" ", "_").replace("-", "_").replace("'", "")
