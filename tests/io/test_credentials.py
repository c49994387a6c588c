"""Where keys, region and endpoint come from: the configuration, the environment, a profile in files, in this order."""

import os
from pathlib import Path

import pytest

from ml.core.errors import ConfigError
from ml.io.credentials import Credentials, S3Access, s3_access

SECRETS = "given-secret", "variable-secret", "file-secret"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    return tmp_path


def write(home: Path, *, credentials: str = "", config: str = "") -> None:
    (home / ".aws" / "credentials").write_text(credentials)
    (home / ".aws" / "config").write_text(config)


NAMES = ("access_key_id", "secret_access_key", "session_token", "region", "endpoint_url")


def found(home: Path, environ: dict[str, str] | None = None, **settings: str) -> S3Access:
    return s3_access(**(dict.fromkeys(NAMES) | settings), environ={"HOME": str(home)} | (environ or {}))


VARIABLES = {
    "AWS_ACCESS_KEY_ID": "VARIABLE",
    "AWS_SECRET_ACCESS_KEY": "variable-secret",
    "AWS_SESSION_TOKEN": "variable-token",
}
FILE = "[default]\naws_access_key_id = FILE\naws_secret_access_key = file-secret\naws_session_token = file-token\n"


def test_the_configuration_comes_before_the_environment_and_that_before_files(home):
    write(home, credentials=FILE)

    given = found(home, VARIABLES, access_key_id="GIVEN", secret_access_key="given-secret")
    assert given.credentials == Credentials("GIVEN", "given-secret", None)  # never with another's token
    assert found(home, VARIABLES).credentials == Credentials("VARIABLE", "variable-secret", "variable-token")
    assert found(home).credentials == Credentials("FILE", "file-secret", "file-token")


def test_without_any_there_are_none_and_amazons_region_is_the_default(tmp_path):
    assert found(tmp_path) == S3Access(None, "us-east-1", None)


def test_a_secret_is_in_no_repr(home):
    write(home, credentials=FILE)

    text = repr(found(home))
    assert "FILE" in text
    assert "file-secret" not in text
    assert "file-token" not in text


def test_the_profile_is_the_one_that_is_named(home):
    write(
        home,
        credentials=FILE + "[work]\naws_access_key_id=WORK\naws_secret_access_key=work=secret%(x)s\n",
        config="[profile work]\nregion = eu-west-1\nendpoint_url = https://s3.work\n[default]\nregion = us-west-2\n",
    )

    work = found(home, {"AWS_PROFILE": "work"})
    assert work == S3Access(Credentials("WORK", "work=secret%(x)s", None), "eu-west-1", "https://s3.work")
    assert found(home).region == "us-west-2"


def test_keys_in_the_general_file_are_found_and_those_of_the_credentials_file_come_first(home):
    config = "[default]\naws_access_key_id = GENERAL\naws_secret_access_key = general\n"
    write(home, config=config)
    assert found(home).credentials == Credentials("GENERAL", "general", None)

    write(home, config=config, credentials=FILE)
    assert found(home).credentials == Credentials("FILE", "file-secret", "file-token")


def test_files_may_lie_elsewhere(home, tmp_path):
    (tmp_path / "elsewhere").write_text(FILE.replace("FILE", "ELSEWHERE"))
    (tmp_path / "general").write_text("[default]\nregion = ap-east-1\n")
    environ = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "elsewhere"),
        "AWS_CONFIG_FILE": str(tmp_path / "general"),
    }

    assert found(home, environ).credentials == Credentials("ELSEWHERE", "file-secret", "file-token")
    assert found(home, environ).region == "ap-east-1"


def test_region_and_endpoint_have_an_order_too(home):
    write(home, config="[default]\nregion = from-file\nendpoint_url = http://file\n")
    environ = {
        "AWS_REGION": "from-variable",
        "AWS_DEFAULT_REGION": "second",
        "AWS_ENDPOINT_URL": "http://second",
        "AWS_ENDPOINT_URL_S3": "http://variable",
    }

    given = found(home, environ, region="given", endpoint_url="http://given")
    assert (given.region, given.endpoint_url) == ("given", "http://given")
    assert (found(home, environ).region, found(home, environ).endpoint_url) == ("from-variable", "http://variable")
    del environ["AWS_REGION"], environ["AWS_ENDPOINT_URL_S3"]
    assert (found(home, environ).region, found(home, environ).endpoint_url) == ("second", "http://second")
    assert (found(home).region, found(home).endpoint_url) == ("from-file", "http://file")


@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key"])
def test_half_a_pair_is_an_error_and_not_completed_from_elsewhere(home, name):
    write(home, credentials=FILE)

    with pytest.raises(ConfigError, match=r"The configuration .*Give both or neither") as caught:
        found(home, VARIABLES, **{name: "very-secret"})
    assert "very-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="The environment"):
        found(home, {f"AWS_{name.upper()}": "very-secret"})


def test_a_profile_that_is_named_must_be_there(home):
    with pytest.raises(ConfigError, match="no profile 'work'"):
        found(home, {"AWS_PROFILE": "work"})


def test_a_profile_with_keys_from_elsewhere_says_what_to_do(home):
    write(home, config="[profile work]\nsso_session = corporate\n")

    with pytest.raises(ConfigError, match=r"by sso_session.*export-credentials --profile work"):
        found(home, {"AWS_PROFILE": "work"})
    assert found(home, {"AWS_PROFILE": "work"} | VARIABLES).credentials is not None


def test_a_user_without_a_home_has_no_profile(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)  # as for a user that /etc/passwd does not know

    assert s3_access(**dict.fromkeys(NAMES), environ=VARIABLES).credentials is not None


def test_a_file_is_read_again_each_time(home):
    write(home, credentials=FILE)
    found(home)
    write(home, credentials=FILE.replace("file-secret", "renewed"))

    assert found(home).credentials == Credentials("FILE", "renewed", "file-token")


@pytest.mark.parametrize(
    "content", [b"no section = very-secret\n", b"\xff\xfe", b"[default\nvery-secret"], ids=range(3)
)
def test_a_file_that_cannot_be_read_is_told_without_its_content(home, content):
    (home / ".aws" / "credentials").write_bytes(content)

    with pytest.raises(ConfigError, match=r"Cannot read .*credentials") as caught:
        found(home)
    assert "very-secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_is_told(home):
    write(home, credentials=FILE)
    (home / ".aws" / "credentials").chmod(0)

    with pytest.raises(ConfigError, match="PermissionError"):
        found(home)
