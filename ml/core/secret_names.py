"""Says by the name of a setting, a variable or a flag whether it holds a secret.

``api_key``, ``db.password`` and ``HF_TOKEN`` do; ``tokenizer``, ``max_tokens`` and
``author`` do not. When in doubt a setting is taken for a secret.
"""

import re
from functools import lru_cache
from typing import Literal

MISSING = "???"

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

HINTS = ("pass", "secret", "credential", "key", "token", "pwd", "jwt", "pat", "cookie", "bearer", "auth")
"""Lower-case: a name that holds none of these is no secret's."""


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
    doubt = secrecy(name)
    return doubt == "certain" or (doubt == "likely" and not _is_number(value))


@lru_cache(maxsize=4096)
def secrecy(name: str) -> Literal["none", "likely", "certain"]:
    """Returns how surely a value of this name is a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if words and words[-1] in _ABOUT and not (words[-1] == "id" and "key" in words):
        return "none"
    if _STRONG.search("".join(words)):
        return "certain"
    pairs = list(zip(["", *words], words, strict=False))
    likely = any(
        word in _AUTH
        or (word == "key" and before in _KEYS)
        or (word == "pass" and before and before not in _PASSES)
        or (word == "token" and before not in _MODEL_TOKENS and not _ABOUT.intersection(words))
        or (word == "tokens" and before in _AUTH | _KEYS)
        for before, word in pairs
    )
    return "likely" if likely else "none"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
