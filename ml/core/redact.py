"""Takes secrets out of configuration, command lines and text, before anything is written.

A secret is known by the name that it stands under (``api_key``, ``db.password``,
``HF_TOKEN``; not ``tokenizer``, ``max_tokens`` or ``author``), by being the value of
an environment variable of such a name, or by its place in a URL
(``https://user:password@host``). In its stead stands ``***``. When in doubt a
setting is taken for a secret.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from typing import cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

MASK = "***"
MISSING = "???"

Plain = bool | int | float | str | list["Plain"] | dict[str | int | float | bool, "Plain"] | None
"""What a configuration holds, without interpolations, types or objects."""

_MIN_VALUE_LENGTH = 8  # a shorter value, such as 1 or test, would be found everywhere
_SHELL_DIRECTORIES = ("PWD", "OLDPWD")

_STRONG = re.compile(r"passw(or)?d|passphrase|secret|credential|apikey|privatekey|accesskey", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_AUTH = {"auth", "oauth", "authentication", "authorization", "bearer", "cookie", "jwt", "pat", "pwd"}
_KEYS = {"access", "account", "api", "encryption", "license", "master", "private", "service", "signing", "ssh"}
_PASSES = {"backward", "forward", "high", "low", "band", "one", "single", "test", "train", "two", "valid"}
_MODEL_TOKENS = {
    *("bos", "class", "cls", "decoder", "end", "eos", "extra", "image", "latent", "mask", "new", "next", "pad"),
    *("patch", "per", "prefix", "prompt", "register", "sep", "special", "start", "stop", "text", "unk", "word"),
}
_ABOUT = {  # what a setting is that only says something about a secret, or about a model's tokens
    *("budget", "count", "dim", "dims", "dir", "directory", "dropout", "embed", "embedding", "embeddings", "enabled"),
    *("endpoint", "file", "id", "ids", "len", "length", "limit", "method", "mode", "num", "path", "provider"),
    *("scheme", "size", "sock", "socket", "type", "types", "uri", "url"),
}
_TYPES = {"str", "int", "bool", "float", "bytes", "object", "any", "none", "null", "true", "false"}

# Look-behinds and bounds keep the time linear, also for a megabyte of letters.
_NAME = r"(?<![\w.-])(?P<name>[\w.-]{1,100})"
_IS = r"[ \t]{0,8}[:=][ \t]{0,8}"
_USER = re.compile(r"""(?P<start>[a-z]{0,20}://)(?P<value>[^/\s?#"'<>]*)@""", re.IGNORECASE)
_QUERY = re.compile(r"""(?P<start>(?<=[?&;])(?P<name>[\w.-]{1,100})=)(?P<value>[^&\s;#"'<>]+)""")
_HEADER = re.compile(rf"(?P<start>\b(?:authorization[\"']?{_IS}[\"']?\w+|bearer)[ \t]+)[^\s\"',;]{{8,}}", re.IGNORECASE)
_QUOTED = re.compile(
    rf"""(?P<start>{_NAME}["'\]]{{0,2}}{_IS}[a-z]{{0,2}}(?P<quote>["']))(?P<value>(?:\\.|(?!(?P=quote)).)+)"""
)
_LINE = re.compile(
    rf"""(?P<start>^[-+]?[ \t]{{0,200}}(?:export[ \t])?(?P<name>[\w.-]{{1,100}}){_IS})"""
    r"""(?P<value>[^\s"'(){}\[\]]+)(?=[ \t]{0,8}\r?$)""",
    re.MULTILINE,
)
_ARGUMENT = re.compile(rf"""(?P<start>{_NAME}["']?{_IS}["']?)(?P<value>[^\s,;&"'{{}}\[\]]+)""")
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def is_secret(name: str, value: object) -> bool:
    """Returns whether ``value`` must not be seen, as it is called ``name``.

    Empty and missing values, truth values and, where the name says no more than token
    or auth, numbers are no secrets.

    Args:
        name: A setting, variable or flag, with dots, dashes, underscores or capitals between its words.
        value: What it is set to.
    """
    if value is None or isinstance(value, bool) or str(value) in ("", MISSING):
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    if words and words[-1] in _ABOUT and not (words[-1] == "id" and "key" in words):
        return False
    if _STRONG.search("".join(words)):
        return True
    if _is_number(value):
        return False
    pairs = list(zip(["", *words], words, strict=False))
    return any(
        word in _AUTH
        or (word == "key" and before in _KEYS)
        or (word == "pass" and before and before not in _PASSES)
        or (word == "token" and before not in _MODEL_TOKENS and not _ABOUT.intersection(words))
        or (word == "tokens" and before in _AUTH | _KEYS)
        for before, word in pairs
    )


class Redactor:
    """Takes secrets out; knows those that are in the environment now.

    Args:
        environ: Variables. The values of those with a secret's name, from 8
            characters on, are taken out wherever they appear.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        found = {value.strip() for name, value in environ.items() if is_secret(name, value)}
        found -= {environ.get(name) for name in _SHELL_DIRECTORIES}
        # The longest first: one may be the start of another.
        values = sorted((value for value in found if len(value) >= _MIN_VALUE_LENGTH), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, values)) if values else "(?!)")

    def redact_text(self, text: str) -> str:
        """Returns any text without its secrets: a patch, a traceback, a URL.

        Besides known values and URLs, ``name = "value"`` with a secret's name loses its
        value everywhere, and ``name=value`` or ``name: value`` where it fills a line.
        """
        return _LINE.sub(_masked_line, _QUOTED.sub(_masked_quote, self._redact_known(text)))

    def redact_argv(self, argv: Sequence[str]) -> list[str]:
        """Returns a command line without the values of ``--api-key X``, ``--api-key=X`` and ``db.api_key=X``."""
        redacted: list[str] = []
        flag = ""
        for argument in argv:
            is_flag = _FLAG.fullmatch(argument) is not None
            if flag and not is_flag and is_secret(flag, argument):
                redacted.append(MASK)
            else:
                redacted.append(_ARGUMENT.sub(_masked_value, self._redact_known(argument)))
            flag = argument if is_flag else ""
        return redacted

    def redact_config(self, config: object) -> DictConfig:
        """Returns a copy of a configuration that holds no secret, and that nothing fails to read.

        Interpolations are resolved; one that cannot be stays as its text. A missing
        value stays ``???``. A value that no configuration can hold becomes its text.

        Args:
            config: A mapping, a DictConfig, or an object with attributes, such as a
                dataclass or an ``argparse.Namespace``. ``None`` stands for an empty one.
        """
        plain = _plain({} if config is None else config)
        if not isinstance(plain, dict):
            plain = _plain(vars(config)) if hasattr(config, "__dict__") else {"config": plain}
        # Masked first: what an interpolation carries elsewhere is then the mask.
        masked = DictConfig(self._masked(plain, under=""))
        return DictConfig(self._texts(_resolved(masked, ())))

    def _redact_known(self, text: str) -> str:
        text = self._values.sub(MASK, text)
        return _HEADER.sub(rf"\g<start>{MASK}", _QUERY.sub(_masked_value, _USER.sub(_masked_user, text)))

    def _masked(self, node: Plain, under: str) -> Plain:
        if isinstance(node, dict):
            return {
                self.redact_text(key) if isinstance(key, str) else key: self._masked(
                    value, str(key) if is_secret(str(key), "text") else under
                )
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [self._masked(value, under) for value in node]
        return MASK if under and is_secret(under, node) else node

    def _texts(self, node: Plain) -> Plain:
        if isinstance(node, dict):
            return {key: self._texts(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._texts(value) for value in node]
        return _escaped(self.redact_text(node)) if isinstance(node, str) else node


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _masked_value(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    secret = is_secret(name, value) or name.lower().endswith(("signature", "-sig")) or name.lower() == "sig"
    return match["start"] + (MASK if secret else value)


def _masked_user(match: re.Match[str]) -> str:
    # ssh://git@host names an account that everybody has; https://x@host is how a token is given.
    is_account = ":" not in match["value"] and not match["start"].lower().startswith("http")
    return match[0] if is_account else f"{match['start']}{MASK}@"


def _masked_quote(match: re.Match[str]) -> str:
    if is_secret(match["name"], match["value"]):
        return match["start"] + MASK
    return match["start"] + _QUOTED.sub(_masked_quote, match["value"])  # quotes of the other kind may lie inside


def _masked_line(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"].rstrip(",;")
    is_code = value.lower() in _TYPES or is_secret(value, "text")  # token: str, self.token = token
    return match[0] if is_code or not is_secret(name, value) else match["start"] + MASK


def _plain(node: object) -> Plain:
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        node = {field.name: getattr(node, field.name, MISSING) for field in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return {
            key if isinstance(key, bool | int | float) else str(_leaf(key)): _plain(value)
            for key, value in node.items()
        }
    if isinstance(node, set | frozenset):
        node = sorted(node, key=str)
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    value = _leaf(node)
    return value if not isinstance(value, str) or _is_valid(value) else _escaped(value)


def _leaf(value: object) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def _is_valid(text: str) -> bool:
    try:
        OmegaConf.create({"text": text})
    except OmegaConfBaseException:
        return False
    return True


def _escaped(text: str) -> str:
    """Returns text that a configuration takes for text, whatever interpolation it looks like."""
    return _INTERPOLATION.sub(r"\1\1\\${", text)


def _resolved(node: DictConfig | ListConfig, above: tuple[int, ...]) -> Plain:
    """Returns a configuration with its interpolations resolved, as far as they can be."""
    raw = cast(Plain, OmegaConf.to_container(node, resolve=False))

    def value_of(key: object, text: Plain) -> Plain:
        try:
            value = node[key]  # type: ignore[index]
        except Exception:  # missing, or an interpolation; what a resolver raises is anything
            return text
        if not isinstance(value, DictConfig | ListConfig):
            return _leaf(value)
        return text if id(value) in above else _resolved(value, (*above, id(value)))  # a circle stays text

    if isinstance(raw, dict):
        return {key: value_of(key, text) for key, text in raw.items()}
    assert isinstance(raw, list)
    return [value_of(index, text) for index, text in enumerate(raw)]
