"""Secrets that are planted over every input are in no byte that a run writes."""

import base64
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, MultiLogger
from ml.loggers.delivery import Delivery
from ml.loggers.memory import MemoryLogger
from ml.loggers.offers import Offers
from ml.loggers.report import Reporter
from ml.loggers.runner import InPlace
from ml.loggers.snapshot import Snapshots

PROGRAM = Path(__file__).parent / "programs" / "planted_secrets.py"
GIT = ("git", "-c", "user.name=ada", "-c", "user.email=ada@host", "-c", "commit.gpgsign=false")


def pem(body: str) -> str:
    """Returns a private key whose lines are ``body``."""
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


BODIES = [f"MIIEvQ{place}anary{place}KqL8sFpYh2v9Xw0ZtR4uJ6mN1bQ3eT5" for place in "abc"]
PLAIN = (  # every one is planted at another place, which its name says
    *("environment", "environment_url", "config", "list", "config_url", "dsn", "labelled", "dataclass"),
    *("config_header", "config_json", "bytes", "argv_flag", "argv_is", "argv_setting", "argv_quoted", "argv_url"),
    *("argv_header", "argv_plain", "remote", "patch_quoted", "patch_line", "patch_url", "patch_list"),
    *("text_json", "text_repr", "pair", "text_url", "query", "bearer", "command", "long"),
    *("should_write", "log_config", "write", "close", "note", "error", "source"),
)
SECRETS = {
    **{name: f"c4nary-{number:02}-{name.replace('_', '-')}-Zx9" for number, name in enumerate(PLAIN)},
    "quoted": "c4nary\"with\\every'kind of <quote> & é",
    "percent": "c4nary%2Fpercent%20encoded%21",
    "github": "ghp_c4nary0123456789ABCDEFabcdef01234567",
    "aws": "AKIAC4NARYC4NARYC4NA",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJjNG5hcnkiOiJjNG5hcnkifQ.c4narysignature",
    "openai": "sk-proj-c4nary0123456789ABCDEF",
    "pem": pem(BODIES[0]),
    "environment_pem": pem(BODIES[1]),
    "patch_pem": pem(BODIES[2]),
}
MARKERS = (
    *(
        "config",
        "dataclass",
        "interpolation",
        "environment",
        "url",
        "dsn",
        "labelled",
        "header",
        "json",
        "bytes",
        "key",
    ),
    *("argv", "patch", "known", "base64", "hex", "escaped", "unquoted", "nested", "repr", "form", "place", "command"),
    *("pem", "environment-pem", "long", "namespace", "scalar", "image", "audio", "bad"),
    *("should-write", "log-config", "write", "close", "note", "callable", "source"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, bytes]:
    """Runs the program; returns every file that it wrote, which its owner alone may read, and what it printed."""
    here = tmp_path_factory.mktemp("secrets")
    (here / "secrets.json").write_text(json.dumps(SECRETS))
    tree = here / "tree"
    tree.mkdir()
    (tree / "settings.py").write_text("lr = 0.1\n")
    (tree / "leaking_source.py").write_text(
        f'def connect():\n    raise OSError("marker-source") if login(token="{SECRETS["source"]}") else None\n\n\n'
        "def login(token):\n    return True\n"
    )
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*GIT, *command], cwd=tree, check=True)
    remote = f"https://ada:{SECRETS['remote']}@host/x.git"
    subprocess.run([*GIT, "remote", "add", "origin", remote], cwd=tree, check=True)
    (tree / "settings.py").write_text(patched())
    argv = [
        *("--api-key", SECRETS["argv_flag"], f"--token={SECRETS['argv_is']}", f"db.password={SECRETS['argv_setting']}"),
        *(f"+a.api_key='{SECRETS['argv_quoted']}'", f"url=pg://ada:{SECRETS['argv_url']}@host", "-H"),
        *(f"Authorization: Bearer {SECRETS['argv_header']}", f"marker-argv secret={SECRETS['argv_plain']}"),
    ]
    environment = os.environ | {
        "SERVICE_TOKEN": SECRETS["environment"],
        "DATABASE_URL": f"mysql://ada:{SECRETS['environment_url']}@host/db",
        "QUOTED_PASSWORD": SECRETS["quoted"],
        "PROXY": f"http://ada:{SECRETS['percent']}@proxy:8080",
        "SIGNING_KEY": SECRETS["environment_pem"],
        "PYTHONPATH": f"{PROGRAM.parents[3]}:{tree}",
    }
    command = [sys.executable, str(PROGRAM), str(here / "run"), str(here / "secrets.json"), *argv]
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    files = {str(path.relative_to(here)): path for path in (here / "run").rglob("*") if path.is_file()}
    modes = {name: path.stat().st_mode & 0o777 for name, path in files.items()}
    assert modes == dict.fromkeys(files, 0o600), "all of them may hold a configuration, a text or an error"
    contents = {name: name.encode() + b"\n" + path.read_bytes() for name, path in files.items()}
    return {**contents, "stdout": ran.stdout, "stderr": ran.stderr}


def patched() -> str:
    """Returns what somebody is working on, with secrets typed in."""
    return "\n".join(
        [
            "lr = 0.1  # marker-patch",
            f'client = Client(api_key="{SECRETS["patch_quoted"]}")',
            f"password: {SECRETS['patch_line']}",
            f"origin = 'amqp://ada:{SECRETS['patch_url']}@host'",
            f"auth_tokens = ['{SECRETS['patch_list']}', 'b']",
            f"key = '{SECRETS['aws']}' or '{SECRETS['environment']}'",
            SECRETS["patch_pem"],
            "",
        ]
    )


def forms(secret: str) -> Iterator[bytes]:
    """Yields the bytes that a secret may be written as."""
    for line in secret.splitlines():
        if line.startswith("-----"):
            continue
        data = line.encode()
        yield from (data, line.encode("utf-16-le"), line.encode("utf-16-be"), data.hex().encode())
        yield from (urllib.parse.quote(line, safe="").encode(), urllib.parse.unquote(line).encode())
        yield from (json.dumps(line)[1:-1].encode(), repr(line)[1:-1].encode())
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + data)
            yield encoded[4 * bool(before) : len(encoded) // 4 * 4 - 4]


@pytest.mark.parametrize("name", SECRETS)
def test_a_planted_secret_is_in_no_byte_that_is_written(written, name):
    found = {place for place, content in written.items() if any(form in content for form in forms(SECRETS[name]))}

    assert not found


@pytest.mark.parametrize("marker", MARKERS)
def test_what_stands_beside_a_secret_is_written(written, marker):
    """So the test above can fail: every input arrives, and only the secret in it does not."""
    assert any(f"marker-{marker}".encode() in content for content in written.values())


class Watched(Redactor):
    """Keeps what it was asked about."""

    def __init__(self):
        super().__init__({"X_TOKEN": "c4nary-known"})
        self.asked = []

    def redact_text(self, text, breathe=None):
        self.asked.append(text)
        return super().redact_text(text, breathe)


def test_a_name_is_looked_through_once_and_a_text_every_time(tmp_path):
    redactor, memory = Watched(), MemoryLogger(BaseLoggerConfig("memory"))
    memory.initialize(RunContext(tmp_path))
    reporter, snapshots, model = Reporter(memory.context, redactor, "warn"), Snapshots(), MultiLogger("model")
    delivery = Delivery(memory, reporter, InPlace)
    offers = Offers([delivery], snapshots, reporter)
    delivery.due = True
    for step in range(1, 101):
        model.log_scalar("c4nary-known", 0.5)
        model.log_string("c4nary-known", "a c4nary-known text")
        state = State(num_steps=step)
        offers.offer(offers.wanted([model], "train"), state)
        delivery.end_step(state, snapshots, due=True)

    assert set(memory.entries[-2:]) == {
        ("train", 100, "model", "***", 0.5),
        ("train", 100, "model", "***", "a *** text"),
    }
    asked_of_names = [text for text in redactor.asked if "text" not in text]
    assert len(asked_of_names) == 6, "path, namespace and key, once for each of two series"
    assert redactor.asked.count("a c4nary-known text") == 100


def test_every_backend_wrote_its_files(written):
    names = " ".join(written)

    for part in (
        "json/log.jsonl",
        "json/media",
        "tensorboard/train/events",
        "journal/0001-0001.journal",
        "stdout.log",
        "errors.jsonl",
        "git.patch",
    ):
        assert part in names
    assert b"marker-known *** and *** and *** and ***" in written["run/json/log.jsonl"]
    assert b"marker-known *** and *** and *** and ***" in written["stdout"]
