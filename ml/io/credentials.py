"""Finds who asks, where and in which region, the way that programs for S3 do.

What the configuration says comes first, then the environment, then the profile (``AWS_PROFILE``, else ``default``) in
``~/.aws/credentials`` and ``~/.aws/config`` or the files that ``AWS_SHARED_CREDENTIALS_FILE`` and ``AWS_CONFIG_FILE``
name. Where none of them has an access key, the S3 library looks for a role of the machine, container or web identity.
"""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml.core.errors import ConfigError

DEFAULT_REGION = "us-east-1"
_MAX_FILE_BYTES = 1 << 20
# What other programs get keys by: from a web site, a program or another account.
_NOT_KNOWN = ("credential_process", "sso_session", "sso_start_url", "source_profile", "role_arn", "login_session")


@dataclass(frozen=True)
class Credentials:
    """Who asks. The secrets are in no ``repr``."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class S3Access:
    """How a bucket of S3 is reached.

    Attributes:
        credentials: ``None``: the S3 library looks for a role.
        region: Of the bucket.
        endpoint_url: ``None``: Amazon's, of the region.
    """

    credentials: Credentials | None
    region: str
    endpoint_url: str | None


def s3_access(
    *,
    access_key_id: str | None,
    secret_access_key: str | None,
    session_token: str | None,
    region: str | None,
    endpoint_url: str | None,
    environ: Mapping[str, str],
) -> S3Access:
    """Finds what is ``None``. Files are read anew at each call, so it finds what was renewed meanwhile.

    Args:
        access_key_id: Of the configuration, as all but the last.
        secret_access_key: Belongs to it.
        session_token: Belongs to both.
        region: Of the bucket.
        endpoint_url: Of the server.
        environ: Variables.

    Raises:
        ConfigError: Half of a pair of keys was given, or the profile that ``AWS_PROFILE`` names is not there or gets
            its keys in a way that is not known here; or a file cannot be read.
    """
    profile = _profile(environ)
    given = _pair("The configuration of the store", access_key_id, secret_access_key, session_token)
    variables = [_set(environ, f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
    credentials = given or _pair("The environment", *variables) or _of_profile(profile, environ)
    return S3Access(
        credentials,
        region or _set(environ, "AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region") or DEFAULT_REGION,
        endpoint_url or _set(environ, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or profile.get("endpoint_url"),
    )


def _set(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _pair(where: str, key: str | None, secret: str | None, token: str | None) -> Credentials | None:
    if key and secret:
        return Credentials(key, secret, token or None)
    if key or secret:
        there, missing = ("an access key ID", "secret access key") if key else ("a secret access key", "access key ID")
        raise ConfigError(f"{where} has {there}, but no {missing}. Give both or neither.")
    return None


def _of_profile(profile: Mapping[str, str], environ: Mapping[str, str]) -> Credentials | None:
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    name = environ.get("AWS_PROFILE") or "default"
    credentials = _pair(f"The profile {name!r}", *(profile.get(key) for key in names))
    way = next((key for key in _NOT_KNOWN if key in profile), None)
    if credentials is None and environ.get("AWS_PROFILE") and way is not None:
        raise ConfigError(
            f"The profile {name!r} gets its keys by {way}, which is not supported. Set them as variables, as "
            f"'aws configure export-credentials --profile {name} --format env' writes them."
        )
    return credentials


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings of the profile; what its keys' own file says goes before what the general one says."""
    name = environ.get("AWS_PROFILE") or "default"
    home = _home(environ)
    files = {
        Path(environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config"): ("default",)
        if name == "default"
        else (f"profile {name}",),
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"): (name,),
    }
    settings: dict[str, str] = {}
    is_there = False
    for path, sections in files.items():
        parsed = _parsed(path)
        for section in sections:
            if parsed.has_section(section):
                is_there = True
                settings |= {key: value.strip() for key, value in parsed[section].items() if value}
    if not is_there and environ.get("AWS_PROFILE"):
        raise ConfigError(f"There is no profile {name!r}, which AWS_PROFILE names, in {' or '.join(map(str, files))}.")
    return settings


def _home(environ: Mapping[str, str]) -> Path:
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # a user that this machine knows no name of, as in many containers
        return Path("/nonexistent")


def _parsed(path: Path) -> configparser.RawConfigParser:
    # No section is the default of others: [default] is a profile like any.
    parser = configparser.RawConfigParser(default_section="", strict=False, delimiters=("=",), allow_no_value=True)
    problem = ""
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_string(file.read(_MAX_FILE_BYTES))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeError, configparser.Error) as error:
        problem = type(error).__name__
    if problem:  # out here, without the error itself: it quotes lines, which may be secrets
        raise ConfigError(f"Cannot read {path} ({problem}). Repair it, or remove it.")
    return parser
