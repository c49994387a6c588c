"""Finds secrets in text, by the name before them, by their place, or by their form.

By name: ``password = "x"``, ``{"api_key": "x"}`` also inside of another text,
``("token", "x")``, ``--api-key x``, ``user=ada password=x``. By place: ``https://user:x@host``,
``Authorization: Bearer x``, the body of a private key. By form: the access keys of AWS,
GitHub, Hugging Face, OpenAI and others.

The time grows with the length of the text and not with its square, whatever is in it:
every pattern is bounded, and text is looked through in pieces, between which a
worker lets other threads run.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ml.core.secret_names import HINTS, is_secret, secrecy

Span = tuple[int, int]
"""Where a secret begins, and where it ends."""

PIECE_LENGTH = 1 << 13
"""Characters that are looked through at a time: about a millisecond."""

_REACH = 1 << 12  # how far beyond a piece a secret may end that begins in it
_NAME_REACH = 1 << 8  # the same for a name and what links it to its value
_LONG_REACH = 1 << 14  # the same for what stands in quotes, and for the body of a private key

_MAX_JUDGED = 200  # of a value without quotes, what says whether it is one
_MIN_WORD = 16  # a shorter word after a flag, in a sentence, may be one of the sentence

_TYPES = {"str", "int", "bool", "float", "bytes", "object", "any", "none", "null", "true", "false"}

_QUOTE = r"""\\{0,7}["']"""
_IS = r"[ \t]{0,8}(?:=>|:=|[:=])[ \t]{0,8}"
# A name and what links it to its value: is, a comma in a pair, or a space after a flag.
_NAMED = re.compile(
    rf"""(?<![\w.-])(?P<name>[\w.-]{{1,100}})(?P<is>[\\"'\]]{{0,9}}{_IS})"""
    rf"""|(?P<pair>[(\[])[ \t]{{0,8}}b?{_QUOTE}(?P<first>[\w.-]{{1,100}}){_QUOTE},[ \t]{{0,8}}"""
    rf"""|(?<![\w.-])(?P<flag>--[\w.-]{{1,100}})(?:{_QUOTE},)?[ \t]{{1,8}}(?!-)"""
)
_QUOTED = re.compile(
    rf"""[a-zA-Z]{{0,2}}(?P<quote>\\{{0,7}}(?:\"\"\"|'''|["']))(?P<value>(?:(?!(?P=quote))(?:\\.|.)){{1,{_LONG_REACH}}})"""
)
_LISTED = re.compile(rf"""[\[({{](?P<value>(?=[^\[\](){{}}]{{0,{_REACH}}}["'])[^\[\](){{}}]{{1,{_REACH}}})[\])}}]""")
_BARE = re.compile(r"""[^\s"'`(){}\[\]\\,;&<>|]+""")
_LINE_START = re.compile(r"[-+]?[ \t]{0,200}(?:export[ \t]{1,8}|-[ \t]{1,8})?")
_LINE_END = re.compile(r"""[,;]?[ \t]{0,8}\r?(?:\n|\Z)""")
_PLACEHOLDER = re.compile(r"%[a-z]|\$[A-Z_]+")
_IDENTIFIER = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*")

_USER = re.compile(
    r"""(?P<scheme>[a-z]{0,20})://"""
    r"""(?P<value>[^/\s?#"'<>]{1,4000}(?=@)|[^/\s?#"'<>@:\[]{0,100}:(?![0-9]{1,5}[/?#])[^\s"'<>@]{1,200}(?=@))""",
    re.IGNORECASE,
)
_QUERY = re.compile(r"""(?<=[?&;])(?P<name>[\w.-]{1,100})=(?P<value>[^&\s;#"'<>\\]{1,4000})""")
_HEADER = re.compile(
    rf"\b(?:authorization\\{{0,7}}[\"']?{_IS}(?:\\{{0,7}}[\"'])?[\w-]{{1,40}}[ \t]+"
    r"|bearer[ \t]+(?=[A-Za-z.]{0,200}[0-9_~+/=-]|[A-Za-z]{20}))(?P<value>[^\s\"',;\\]{8,4000})",
    re.IGNORECASE,
)
_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(
    rf"(?P<value>(?:[^-]|-(?!----)){{1,{_LONG_REACH}}}(?=-----END)|[A-Za-z0-9+/=\s\\\"',]{{16,{_LONG_REACH}}})"
)
_FORM = re.compile(
    r"(?<![\w-])(?P<value>(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)|gh[pousr]_\w{36,255}|github_pat_\w{22,255}|hf_\w{30,255}"
    r"|glpat-[\w-]{20,255}|xox[abeprs]-[\w-]{10,255}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,255}"
    r"|sk-(?:proj|ant|svcacct|admin)-[\w-]{20,255}|sk-(?:[a-z]{2,8}-)?[A-Za-z0-9]{20,255}"
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,2000}(?:\.[\w-]{0,2000})?)"
)


class _Rule(NamedTuple):
    """How one sort of secret is found: ``find`` yields those that begin in a piece of a text."""

    hints: tuple[bytes, ...]  # lower-case: a text that holds none of them holds none of these secrets
    find: Callable[[str, int, int], Iterator[Span]]


def secrets_in(text: str, breathe: Callable[[], None] | None = None) -> Iterator[Span]:
    """Yields where secrets are, in no order; they may overlap.

    Args:
        text: Any text.
        breathe: Called after every piece of a long text.
    """
    for start in range(0, len(text), PIECE_LENGTH):
        end = min(start + PIECE_LENGTH, len(text))
        lowered = text[start : end + _NAME_REACH].encode("ascii", "replace").lower()  # a text's own lower() is slow
        for rule in _RULES:
            for hint in rule.hints:
                if hint in lowered:
                    yield from rule.find(text, start, end)
                    break
        if breathe is not None:
            breathe()


def _users(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _matches(_USER, text, start, end):
        # ssh://git@host names an account that everybody has; https://x@host is how a token is given.
        if ":" in match["value"] or match["scheme"].lower().startswith("http"):
            yield match.span("value")


def _queries(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _matches(_QUERY, text, start, end):
        name = match["name"].lower()
        if name.endswith(("signature", "-sig")) or name == "sig" or is_secret(match["name"], match["value"]):
            yield match.span("value")


def _headers(text: str, start: int, end: int) -> Iterator[Span]:
    return (match.span("value") for match in _matches(_HEADER, text, start, end))


def _forms(text: str, start: int, end: int) -> Iterator[Span]:
    return (match.span("value") for match in _matches(_FORM, text, start, end))


def _private_keys(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _matches(_KEY_BEGIN, text, start, end):
        body = _KEY_BODY.match(text, match.end(), match.end() + _LONG_REACH + len("-----END"))
        if body is not None:
            yield body.span("value")


def _named(text: str, start: int, end: int) -> Iterator[Span]:
    at = start
    while (match := _NAMED.search(text, at, end + _NAME_REACH)) is not None and match.start() < end:
        at = match.end()
        name = match["name"] or match["first"] or match["flag"]
        if secrecy(name) == "none" and name[0] in "nrt" and text[match.start() - 1 : match.start()] == "\\":
            name = name[1:]  # a line break before it, in a text that was escaped
        span = _value_span(text, match, name) if secrecy(name) != "none" else None
        if span is not None:
            yield span
            at = span[1]


def _value_span(text: str, match: re.Match[str], name: str) -> Span | None:
    """Returns where the value of a secret's name is; ``None`` where it is none, such as a type or a variable."""
    at, limit = match.end(), match.end() + _LONG_REACH + _NAME_REACH
    value = _QUOTED.match(text, at, limit)
    if value is not None:
        if match["name"]:
            # In "token:" the second quote ends what the first began.
            is_value = text[match.start() - 1 : match.start()] != value["quote"] or value["quote"] in match["is"]
        else:
            is_value = bool(match["flag"]) or _is_pair(text, value, match["pair"])
        return value.span("value") if is_value and is_secret(name, value["value"]) else None
    listed = _LISTED.match(text, at, limit) if match["name"] else None
    if listed is not None:
        return listed.span("value")
    bare = _BARE.match(text, at, at + _MAX_JUDGED)
    if bare is None or not is_secret(name, bare[0]) or _is_code(name, bare[0], text[bare.end() : bare.end() + 1]):
        return None
    is_random = _looks_random(bare[0])
    if match["name"]:
        is_value = is_random or match["is"].strip("\\\"'") == "=" or _fills_line(text, match.start(), bare.end())
    else:
        is_value = bool(match["flag"]) and "," not in match[0] and (is_random or len(bare[0]) >= _MIN_WORD)
    whole = _BARE.match(text, at, limit)
    return whole.span() if is_value and whole is not None else None


def _is_pair(text: str, value: re.Match[str], bracket: str) -> bool:
    """Whether a quoted value is the second of two, and no word of a list such as ``("token", "position")``."""
    end = value.end() + len(value["quote"])
    return text[end : end + 1] == {"(": ")", "[": "]"}[bracket] and _looks_random(value["value"])


def _fills_line(text: str, start: int, end: int) -> bool:
    line_start = max(text.rfind("\n", max(0, start - 220), start) + 1, start - 220, 0)
    return _LINE_START.fullmatch(text, line_start, start) is not None and _LINE_END.match(text, end) is not None


def _is_code(name: str, value: str, following: str) -> bool:
    """Whether a value without quotes is a type, a call or a variable: ``token: str``, ``password = args.password``."""
    if value.lower() in _TYPES or following in ("(", "[") or _PLACEHOLDER.fullmatch(value):
        return True
    if _IDENTIFIER.fullmatch(value) is None:
        return False
    last = value.rpartition(".")[2].lower()
    if "." in value:
        return is_secret(last, "text")
    named = name.lower().replace("-", "_").replace(".", "_").strip("_")
    return last == named or last.endswith(f"_{named.rpartition('_')[2]}") or named.endswith(f"_{last}")


def _looks_random(value: str) -> bool:
    return len(value) >= 6 and any(character.isdigit() for character in value)


def _matches(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """Yields the matches that begin in a piece; they may end beyond it."""
    for match in pattern.finditer(text, start, end + _REACH):
        if match.start() >= end:
            return
        yield match


_RULES = (
    _Rule((b"://",), _users),
    _Rule((b"=",), _queries),
    _Rule((b"bearer", b"authorization"), _headers),
    _Rule((b"private key",), _private_keys),
    _Rule((b"kia", b"sia", b"gh", b"hf_", b"glpat", b"xox", b"aiza", b"npm_", b"pypi-", b"sk-", b"eyj"), _forms),
    _Rule(tuple(hint.encode() for hint in HINTS), _named),
)
