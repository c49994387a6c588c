"""What a failed request to an object store means: to be tried again, refused, or a matter of one key.

The library's text has the server's whole answer in it, and answers to bad signatures quote what was signed. So only the
status, the server's code and its message are kept, cut, with secrets taken out.
"""

import re

from ml.core.errors import LogValueError, WriteError
from ml.core.redact import MASK, Redactor
from ml.io.store import Refused

MAX_MESSAGE = 200
_MAX_LOOKED_AT = 16_384

_STATUS = re.compile(r"status code: (\d{3})[^:\n]{0,40}:? ?")
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})</Message>")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Interrupted)\b")
_DIGEST = re.compile(r"\b[0-9a-fA-F]{32,}\b|(?<=[Ss]ignature=)[^\s&,]+")  # as signatures are
_REASONS = {
    "Connect": "it cannot be connected to",
    "Timeout": "it did not answer in time",
    "Interrupted": "the connection broke",
}
_NOT_IMPLEMENTED = 501
_PASSING_STATUS = (408, 409, 425, 429)
# Of answers with status 400 or 403 that are better next time.
_PASSING_CODES = ("RequestTimeout", "SlowDown", "Throttling", "RequestLimitExceeded", "OperationAborted")
_ONE_KEYS_STATUS = (413, 414)
_ONE_KEYS_CODES = ("KeyTooLongError", "EntityTooLarge", "InvalidURI")


def problem_of(what: str, text: str, redactor: Redactor, *, hint: str = "") -> Exception:
    """Returns the error to raise.

    Args:
        what: Failed: ``"read 'a' in s3://bucket"``.
        text: What the library says, of any length.
        redactor: Knows the secrets.
        hint: Is added where no answer came, or it was about credentials.

    Returns:
        A ``FileNotFoundError`` for an object that is not there, a ``LogValueError`` for a key or a size that this store
        does not take, a ``Refused``, or a ``WriteError`` for what may go well next time.
    """
    text = text[:_MAX_LOOKED_AT]
    answer, _, _ = text.partition("\n\nDebug source:")
    status = _STATUS.search(answer)
    if status is None:
        reason = _reason_without_answer(answer, text)
        return (Refused if "redirect" in answer else WriteError)(_message(what, reason, redactor, hint))
    number, body = int(status[1]), answer[status.end() :]
    code = found[1] if (found := _CODE.search(body)) else ""
    said = found[1] if (found := _MESSAGE.search(body)) else "" if code else body
    reason = " ".join(f"{number} {code} {said}".split())
    if number == 404 and code != "NoSuchBucket":
        return FileNotFoundError(_message(what, reason, redactor))
    if (number >= 500 and number != _NOT_IMPLEMENTED) or number in _PASSING_STATUS or code in _PASSING_CODES:
        return WriteError(_message(what, reason, redactor))
    if number in _ONE_KEYS_STATUS or code in _ONE_KEYS_CODES:
        return LogValueError(_message(what, reason, redactor).rstrip("."))
    return Refused(_message(what, reason, redactor, hint if number in (400, 401, 403) else ""))


def _reason_without_answer(answer: str, text: str) -> str:
    if "dns error" in text:
        return "its name cannot be resolved"
    if (kind := _KIND.search(text)) is not None:
        return _REASONS[kind[1]]
    if "redirect" in answer:
        return "it sends elsewhere: the region or the endpoint is another one"
    return answer.partition("\n")[0]


def _message(what: str, reason: str, redactor: Redactor, hint: str = "") -> str:
    # Cut last: half a secret would not be known for one.
    reason = _DIGEST.sub(MASK, redactor.redact_text(reason))[:MAX_MESSAGE].rstrip(". ")
    return f"Cannot {what}: {reason}.{f' {hint}' if hint else ''}"
