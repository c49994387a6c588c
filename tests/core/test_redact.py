"""Redaction: what is a secret, what is not, and that none is left in any form."""

import argparse
import dataclasses
import enum
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from ml.core.redact import Redactor, is_secret

NOBODY = Redactor({})


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "password",
            "passwd",
            "db.password",
            "PGPASSWORD",
            "userPassword",
            "passphrase",
            "MYSQL_PWD",
            "pwd",
            "DB_PASS",
        ),
        *("secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "secrets", "token_secret"),
        *("api_key", "apikey", "apiKey", "APIKey", "api-key", "OPENAI_API_KEY", "private_key", "ssh_key", "--api-key"),
        *("token", "hf_token", "HF_TOKEN", "access-token", "authToken", "auth_tokens", "GITHUB_TOKEN", "jwt"),
        *("auth", "oauth", "authorization", "credential", "credentials", "GOOGLE_CREDENTIALS"),
    ],
)
def test_a_setting_of_this_name_is_a_secret(name):
    assert is_secret(name, "canary")


@pytest.mark.parametrize(
    "name",
    [
        *("author", "authors", "authority", "tokenizer", "tokenizer_name", "tokenize", "num_tokens", "max_tokens"),
        *("tokens", "pad_token", "eos_token", "mask_token", "pad_token_id", "token_dim", "token_type", "token_dropout"),
        *(
            "key",
            "keys",
            "key_dim",
            "primary_key",
            "sort_key",
            "monkey",
            "keyboard",
            "lr",
            "path",
            "pass",
            "forward_pass",
        ),
        *("password_file", "private_key_path", "SSH_AUTH_SOCK", "auth_type", "secrets_dir", "TOKENIZERS_PARALLELISM"),
        "",
    ],
)
def test_a_setting_of_this_name_is_no_secret(name):
    assert not is_secret(name, "plain")


@pytest.mark.parametrize("value", [None, True, False, "", "???"])
def test_what_says_nothing_is_no_secret(value):
    assert not is_secret("password", value)


def test_a_number_is_a_secret_only_under_a_name_that_leaves_no_doubt():
    assert is_secret("password", 1234)
    assert is_secret("password", "1234")
    assert not is_secret("token", 1234)
    assert not is_secret("trainer.max_token", "4096")


# --- text -------------------------------------------------------------------------------------------------------------


def test_values_of_secret_variables_are_taken_out_wherever_they_are():
    redactor = Redactor({"HF_TOKEN": "hf_canary", "DB_PASSWORD": "hf_canary-and-more", "HOME": "/home/ada"})
    text = redactor.redact_text("/home/ada: hf_canary, xhf_canary-and-morex")
    assert text == "/home/ada: ***, x***x"


def test_short_values_and_the_working_directory_are_not_taken_out():
    redactor = Redactor({"A_TOKEN": "train", "PWD": "/home/ada/project", "OLDPWD": "/home/ada/other"})
    text = "train in /home/ada/project, not in /home/ada/other"
    assert redactor.redact_text(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://ada:canary@host/x", "https://***@host/x"),
        ("https://canary@host/x", "https://***@host/x"),
        ("pg://ada:can@ry@host:5432/db", "pg://***@host:5432/db"),
        ("two https://a:canary@h and http://b:canary@i.", "two https://***@h and http://***@i."),
        ("s3://bucket/x?token=canary&n=1", "s3://bucket/x?token=***&n=1"),
        ("https://h/x?X-Amz-Signature=canary&X-Amz-Date=1", "https://h/x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("Authorization: Bearer canary-canary", "Authorization: Bearer ***"),
        ("password = 'canary'", "password = '***'"),
        ('{"api_key": "can\\"ary", "lr": 1}', '{"api_key": "***", "lr": 1}'),
        ('os.environ["HF_TOKEN"] = "canary"', 'os.environ["HF_TOKEN"] = "***"'),
        ("""run = "login --password='canary'" """, """run = "login --password='***'" """),
        ("+password: canary\n+lr: 1\n", "+password: ***\n+lr: 1\n"),
        ("export API_KEY=canary\r\nx=1\r\n", "export API_KEY=***\r\nx=1\r\n"),
    ],
)
def test_secrets_in_text_are_taken_out_by_their_place(text, redacted):
    assert NOBODY.redact_text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@github.com/a/b and git@github.com:a/b",
        "https://host:8080/path?email=a@b",
        "    self.token = token",
        "  password: str,",
        "+token = None",
        "tokenizer = 'bpe'",
        "login(password=read_password())",
        "The author: Ada",
    ],
)
def test_code_and_addresses_without_secrets_are_left_as_they_are(text):
    assert NOBODY.redact_text(text) == text


@given(st.text(), st.text())
def test_no_text_keeps_a_known_secret(before, after):
    assert "canary-canary" not in Redactor({"X_TOKEN": "canary-canary"}).redact_text(f"{before}canary-canary{after}")


@pytest.mark.parametrize("unit", ["a", "a.", 'a="a', "://", "token ", " ", "password:", "x=", "authorization", "'\\"])
def test_the_time_grows_with_the_text_and_not_with_its_square(unit):
    start_s = time.process_time()
    NOBODY.redact_text(unit * (400_000 // len(unit)))
    # Seconds where it is linear by a factor of 20; the square of it would be hours.
    assert time.process_time() - start_s < 20


# --- command lines ----------------------------------------------------------------------------------------------------


def test_secrets_on_the_command_line_are_taken_out():
    redactor = Redactor({"X_SECRET": "canary-environment"})
    argv = [
        *("train.py", "--api-key", "canary", "--api-key=canary", "-token", "canary", "db.password=canary"),
        *("+a.api_key=canary", "++a.b.token='canary'", "db={user: ada, password: canary}", "url=pg://a:canary@h"),
        *("-H", "Authorization: Bearer canary-canary", "x=canary-environment", "canary-environment"),
    ]
    redacted = redactor.redact_argv(argv)
    assert "canary" not in " ".join(redacted)
    assert len(redacted) == len(argv)
    assert redacted[:4] == ["train.py", "--api-key", "***", "--api-key=***"]
    assert redacted[9:11] == ["db={user: ada, password: ***}", "url=pg://***@h"]


def test_what_is_no_secret_on_the_command_line_is_kept():
    argv = ["train.py", "--use-auth", "--verbose", "--max-tokens", "5", "--token", "--lr", "0.1", "model.pad_token=<p>"]
    assert NOBODY.redact_argv(argv) == argv


# --- configuration ----------------------------------------------------------------------------------------------------


def test_secrets_of_a_configuration_are_taken_out_by_name_by_value_and_by_place():
    config = {
        "db": {"password": "canary", "port": 5432, "url": "pg://ada:canary@host/db"},
        "auth": {"user": "canary", "retries": 3, "keys": ["canary"]},
        "notes": ["canary-environment", 1, None],
        "tokenizer": "bpe",
        "max_tokens": 5,
    }
    redacted = Redactor({"MY_SECRET": "canary-environment"}).redact_config(config)
    assert OmegaConf.to_container(redacted) == {
        "db": {"password": "***", "port": 5432, "url": "pg://***@host/db"},
        "auth": {"user": "***", "retries": 3, "keys": ["***"]},
        "notes": ["***", 1, None],
        "tokenizer": "bpe",
        "max_tokens": 5,
    }
    assert config["db"]["password"] == "canary"


def test_an_interpolation_does_not_carry_a_secret_to_another_name():
    config = OmegaConf.create({"db": {"password": "canary"}, "header": "x ${db.password}", "all": "${db}"})
    redacted = NOBODY.redact_config(config)
    assert "canary" not in OmegaConf.to_yaml(redacted)
    assert redacted.header == "x ***"


def test_interpolations_are_resolved_and_one_that_cannot_be_stays_text():
    OmegaConf.register_new_resolver("broken", lambda: 1 / 0, replace=True)
    config = OmegaConf.create(
        {
            "size": 3,
            "double": ["${size}", "${.0}"],
            "nowhere": "${absent}",
            "broken": "${broken:}",
            "circle": {"inner": "${circle}"},
            "ring": {"one": {"next": "${ring.two}"}, "two": {"next": "${ring.one}"}},
            "loop": "${loop}",
            "variable": "${oc.env:SURELY_NOT_SET}",
            "missing": MISSING,
            "of_missing": "${missing}",
            "literal": r"\${size}",
        }
    )
    redacted = NOBODY.redact_config(config)
    assert OmegaConf.to_container(redacted, resolve=True) == {
        "size": 3,
        "double": [3, 3],
        "nowhere": "${absent}",
        "broken": "${broken:}",
        "circle": {"inner": "${circle}"},
        "ring": {
            "one": {"next": {"next": "${ring.one}"}},
            "two": {"next": {"next": "${ring.two}"}},
        },
        "loop": "${loop}",
        "variable": "${oc.env:SURELY_NOT_SET}",
        "missing": "???",
        "of_missing": "${missing}",
        "literal": "${size}",
    }
    assert OmegaConf.create(OmegaConf.to_yaml(redacted)) == redacted


TEXTS = st.text() | st.text(alphabet="${}\\:a ,'\"[].?@/")


@settings(max_examples=50)
@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS | st.floats(allow_nan=False))))
def test_any_configuration_can_be_read_and_written_after_redaction(config):
    redacted = NOBODY.redact_config(config)
    OmegaConf.to_container(redacted, resolve=True)
    OmegaConf.to_yaml(redacted)


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    api_key: str = "canary"
    color: Color = Color.RED
    steps: int = MISSING


@pytest.mark.parametrize("config", [Settings(), OmegaConf.structured(Settings), {**vars(Settings())}])
def test_every_form_of_configuration_is_redacted_alike(config):
    redacted = OmegaConf.to_container(NOBODY.redact_config(config))
    assert redacted == {"api_key": "***", "color": "RED", "steps": "???"}


def test_arguments_of_argparse_and_no_configuration_are_configurations():
    assert NOBODY.redact_config(argparse.Namespace(lr=0.1, token="canary")) == {"lr": 0.1, "token": "***"}
    assert NOBODY.redact_config(None) == {}


def test_what_no_configuration_can_hold_becomes_a_number_or_text():
    config = {"rate": np.float32(0.5), "n": np.int64(3), "path": Path("/x"), "type": np.float64, 1: (1, {2}), "b": b"x"}
    assert OmegaConf.to_container(NOBODY.redact_config(config)) == {
        "rate": 0.5,
        "n": 3,
        "path": "/x",
        "type": "<class 'numpy.float64'>",
        1: [1, [2]],
        "b": "b'x'",
    }
