"""Redaction: what is a secret, what is not, and that none is left in any form."""

import argparse
import base64
import dataclasses
import enum
import html
import json
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from ml.core.redact import Redactor, is_secret
from ml.core.secret_text import PIECE_LENGTH

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
        ("- token: canary\n", "- token: ***\n"),
        ("host=db user=ada password=canary dbname=x", "host=db user=ada password=*** dbname=x"),
        ("cannot log in, password: canary1, as ada", "cannot log in, password: ***, as ada"),
        ("pg://ada:can/ar?y@host/db", "pg://***@host/db"),
        ("postgresql+psycopg2://ada:canary@host/db", "postgresql+psycopg2://***@host/db"),
        ("Authorization: Basic Y2FuYXJ5Y2FuYXJ5", "Authorization: Basic ***"),
        ("{'Authorization': 'Bearer canary-canary'}", "{'Authorization': '***'}"),
        (r'"{\"api_key\": \"canary\", \"lr\": 1}"', r'"{\"api_key\": \"***\", \"lr\": 1}"'),
        (r'"{\\\"api_key\\\": \\\"canary\\\"}"', r'"{\\\"api_key\\\": \\\"***\\\"}"'),
        (r"'one\ntoken=canary\ntwo'", r"'one\ntoken=***\ntwo'"),
        ("{'api_key': b'canary', 'lr': 1}", "{'api_key': b'***', 'lr': 1}"),
        ("[('token', 'canary1'), ('lr', 1)]", "[('token', '***'), ('lr', 1)]"),
        ("(b'cookie', b'canary1')", "(b'cookie', b'***')"),
        ('[["api_key", "canary1"]]', '[["api_key", "***"]]'),
        ("auth_tokens = ['canary', 'b']", "auth_tokens = [***]"),
        ("['curl', '--token', 'canary']", "['curl', '--token', '***']"),
        ("curl --token canary1 x", "curl --token *** x"),
        ('password = """canary"""', 'password = """***"""'),
        ("id AKIACANARYCANARYCANA", "id ***"),
        ("ghp_canary" + "0" * 36, "***"),
        ("x eyJhbGciOiJub25l.eyJjYW5hcnkiOjF9.canary y", "x *** y"),
        (
            "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----",
        ),
        ("-----BEGIN EC PRIVATE KEY-----\\ncanarycanarycanary", "-----BEGIN EC PRIVATE KEY-----***"),
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
        "the bearer of bad news, and bearer authentication failed",
        "auth: the user is asked to log in",
        "secrets: 3 found; token=5 loss=0.5",
        "--token is missing; use --token TOKEN --lr 3",
        "def f(password: str, token: Token = None) -> str:",
        "f(api_key=args.api_key, token=token, password=self.password, auth=(user, password))",
        'parser.add_argument("--token", default=None)',
        'fields = ("password", "username") or ["token", "embedding"]',
        "print('token:', token, getpass('password: '))",
        "password=%s, password=$PASSWORD, password = getpass(), token = tokens[i]",
        "commit 249535bf0123456789abcdef0123456789abcdef01 of sk-learn-contrib-something-long",
        "C:\\new\\token\\key: value",
        "http://[::1]:80/x@y, user@example.com:22, 12:30:01",
    ],
)
def test_code_and_addresses_without_secrets_are_left_as_they_are(text):
    assert NOBODY.redact_text(text) == text


@given(st.text(), st.text())
def test_no_text_keeps_a_known_secret(before, after):
    assert "canary-canary" not in Redactor({"X_TOKEN": "canary-canary"}).redact_text(f"{before}canary-canary{after}")


@given(
    st.lists(
        st.sampled_from(["password", "token", "--key", *"=:'\"\\ ()[]{},-@/?&\nnab1", "://", "bearer", "eyJ"]),
        max_size=40,
    )
)
def test_any_text_can_be_looked_through(parts):
    text = "".join(parts)
    redacted = NOBODY.redact_text(text)

    assert len(redacted.replace("***", "")) <= len(text)
    assert redacted.count("\n") <= text.count("\n")


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "a.",
            'a="a',
            "://",
            "token ",
            " ",
            "password:",
            "x=",
            "authorization",
            "'\\",
            "a://b:",
            "token=",
            "token={",
        ),
        *("--token ", "('token',", "-----BEGIN PRIVATE KEY-----", "bearer ", "eyJ", "sk-", '\\"token\\":', "token=("),
    ],
)
def test_the_time_grows_with_the_text_and_not_with_its_square(unit):
    start_s = time.process_time()
    NOBODY.redact_text(unit * (50_000 // len(unit)))
    # About a second where it is linear; its square would be many minutes.
    assert time.process_time() - start_s < 20


FORMS = {
    "as it is": lambda text: text,
    "in JSON": json.dumps,
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "as Python writes it": repr,
    "percent-encoded": lambda text: quote(text, safe=""),
    "in a form": quote_plus,
    "in HTML": html.escape,
    "as digits": lambda text: text.encode().hex(),
    "as base64": lambda text: base64.b64encode(text.encode()).decode(),
    "as base64 after one more": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "as base64 after two more": lambda text: base64.urlsafe_b64encode(b"xy" + text.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", ["canary-canary", "can\"ary\\'s & <ending>?", "canäry\nof two lines"])
def test_a_known_secret_is_taken_out_in_every_form(form, secret):
    written = FORMS[form](secret)
    redacted = Redactor({"X_SECRET": secret}).redact_text(f"it is {written}, say")

    assert written not in redacted
    assert len(redacted.replace("it is ", "").replace(", say", "").replace("***", "")) < 8


def test_each_line_of_a_known_key_is_taken_out():
    lines = ["-----BEGIN PRIVATE KEY-----", *("canary" + letter * 30 for letter in "abc"), "-----END PRIVATE KEY-----"]
    redactor = Redactor({"SIGNING_KEY": "\n".join(lines)})

    assert redactor.redact_text(f"+ {lines[2]}") == "+ ***"
    assert redactor.redact_text("-----END PRIVATE KEY-----") == "-----END PRIVATE KEY-----"


def test_passwords_in_urls_of_the_environment_are_known():
    redactor = Redactor({"DATABASE_URL": "pg://ada:canary%2Fcanary@host/db", "HOME": "/home/ada"})
    assert redactor.redact_text("canary%2Fcanary is canary/canary, of /home/ada") == "*** is ***, of /home/ada"


CONFIG = {
    "db": {"password": "canary-one"},
    "url": "https://ada:canary-two@host",
    "list": {"api_keys": {"token": ["canary-three", "${db.password}4"]}},
    "named": [{"name": "API_KEY", "value": "canary-five"}],
    "note": '{"secret": "canary-six"}',
    "number": {"password": 1234567890},
    "auth": "kerberos",
    "size": "canary-not-a-secret",
}


def test_what_a_configuration_keeps_secret_is_known_afterwards():
    redactor = Redactor({})
    text = "canary-one, canary-two, canary-three, canary-one4, canary-five, canary-six, 1234567890"
    assert redactor.redact_text(text) == text
    redactor.redact_config(CONFIG)
    assert redactor.redact_text(text) == text, "asking changes nothing"

    redactor.learn_config(CONFIG)
    assert redactor.redact_text(text) == "***, ***, ***, ***, ***, ***, ***"
    assert redactor.redact_text("kerberos and canary-not-a-secret") == "kerberos and canary-not-a-secret"


def test_what_a_command_line_keeps_secret_is_known_afterwards():
    redactor = Redactor({})
    redactor.learn_argv(
        ["--api-key", "canary-one", "db.password='canary two'", "pg://ada:canary-three@h", "--lr", "0.1"]
    )

    assert redactor.redact_text("canary-one canary two canary-three 0.1") == "*** *** *** 0.1"


@pytest.mark.parametrize("learn", [1234, None, [], "text", {1: 2}, {"password": float("nan")}])
def test_any_configuration_can_be_learnt(learn):
    redactor = Redactor({})
    redactor.learn_config(learn)
    assert redactor.redact_text("password of 1234 text") == "password of 1234 text"


@pytest.mark.parametrize("offset", range(-40, 41, 4))
@pytest.mark.parametrize("filling", ["x", " ", "x "])
def test_a_secret_between_two_pieces_of_a_long_text_is_taken_out(filling, offset):
    secrets = "api_key = 'canary-one' Authorization: Bearer canary-two pg://ada:canary-3@host canary-four"
    before = (filling * PIECE_LENGTH)[: PIECE_LENGTH + offset - len(secrets) // 2]
    redacted = Redactor({"X_TOKEN": "canary-four"}).redact_text(f"{before} {secrets} {before}")

    assert "canary" not in redacted
    assert redacted.startswith(before)
    assert redacted.endswith(before)


def test_a_long_text_is_looked_through_with_breaths_between():
    breaths = []
    text = "no secret is in here " * 10_000
    redacted = Redactor({"X_TOKEN": "canary-four"}).redact_text(text, lambda: breaths.append(1))

    assert redacted == text
    assert len(breaths) >= 2 * len(text) // PIECE_LENGTH


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
    assert redactor.redact_argv(["--password", "can ary", "db.password=can ary"]) == [
        "--password",
        "***",
        "db.password=***",
    ]
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
