"""A run into which a secret is planted over every input: configuration, command line, git, texts, names, errors.

Called as ``planted_secrets.py <directory> <secrets.json> [arguments with secrets ...]``, with more of them in the
environment and in the working tree. Beside each secret stands a marker that is none, and must arrive.
"""

import base64
import dataclasses
import importlib
import json
import sys
import urllib.parse
from pathlib import Path

import numpy as np

from ml import start_run
from ml.core.registry import LOGGERS
from ml.loggers import BaseLogger, BaseLoggerConfig

DIRECTORY, SECRETS = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())


@dataclasses.dataclass
class Service:
    """A part of a configuration that is typed."""

    access_token: str
    note: str = "marker-dataclass"


class Failing(BaseLogger[BaseLoggerConfig]):
    """A backend whose errors tell secrets."""

    def should_write(self, state):
        if state.num_steps == 3:
            raise RuntimeError(f"marker-should-write password={SECRETS['should_write']} refused")
        return True

    def log_config(self, config):
        raise LookupError(f"marker-log-config {{'headers': {{'Authorization': 'Basic {SECRETS['log_config']}'}}}}")

    def log_scalar(self, key, value, state, namespace):
        pass

    def write(self, state):
        raise EOFError(f"marker-write https://ada:{SECRETS['write']}@host/v1 said no")

    def close(self):
        raise ArithmeticError(f"marker-close curl --token {SECRETS['close']} failed")


def raising():
    """Raises an error with a cause, a note, a known secret, and a line of source that holds one."""
    try:
        importlib.import_module("leaking_source").connect()
    except Exception as error:
        error.add_note(f"marker-note api_key='{SECRETS['note']}'")
        raise ValueError(f"marker-callable {SECRETS['environment']} in {{'password': '{SECRETS['error']}'}}") from error


CONFIG = {
    "db": {"password": SECRETS["config"], "port": 5432, "note": "marker-config"},
    "api_keys": {"api_key": [SECRETS["list"], SECRETS["quoted"]]},
    "header": "marker-interpolation ${db.password}",
    "from_environment": "marker-environment ${oc.env:SERVICE_TOKEN}",
    "store": {"url": f"postgresql+psycopg2://ada:{SECRETS['config_url']}@host:5432/db", "note": "marker-url"},
    "dsn": f"marker-dsn host=db user=ada password={SECRETS['dsn']} dbname=x",
    "environment": [{"name": "API_KEY", "value": SECRETS["labelled"]}, {"name": "MODE", "value": "marker-labelled"}],
    "service": Service(SECRETS["dataclass"]),
    "request": f"marker-header Authorization: Bearer {SECRETS['config_header']}",
    "json": json.dumps({"note": "marker-json", "client_secret": SECRETS["config_json"]}),
    "bytes": [b"marker-bytes", {b"cookie": SECRETS["bytes"].encode()}],
    f"marker-key {SECRETS['environment']}": 1,
}


def texts():
    """Yields what is logged as strings."""
    known, quoted = SECRETS["environment"], SECRETS["quoted"]
    yield f"marker-known {known} and {SECRETS['config']} and {SECRETS['argv_flag']} and {SECRETS['config_url']}"
    yield f"marker-base64 {base64.b64encode(known.encode())!r} {base64.b64encode(b'a:' + known.encode())!r}"
    yield f"marker-hex {known.encode().hex()} {urllib.parse.quote(quoted, safe='')}"
    yield f"marker-escaped {quoted!r} {json.dumps(quoted)} {json.dumps(json.dumps({'note': quoted}))}"
    yield f"marker-unquoted {urllib.parse.unquote(SECRETS['percent'])} {SECRETS['percent']}"
    yield f"marker-nested {json.dumps(json.dumps({'api_key': SECRETS['text_json']}))}"
    yield f"marker-repr { {'lr': 0.1, 'hf_token': SECRETS['text_repr']} } {[('token', SECRETS['pair'])]}"
    yield f"marker-form {SECRETS['github']} {SECRETS['aws']} {SECRETS['jwt']} {SECRETS['openai']}"
    yield f"marker-place mysql://ada:{SECRETS['text_url']}@host/db?sslkey=x&token={SECRETS['query']}"
    yield f"marker-command curl -H 'authorization: bearer {SECRETS['bearer']}' --password {SECRETS['command']} x"
    yield f"marker-pem\n{SECRETS['pem']}\nafterwards"
    yield f"marker-environment-pem {SECRETS['environment_pem']} {SECRETS['environment_pem']!r}"
    yield "marker-long " + "x" * 100_000 + f" password: {SECRETS['long']} " + "y" * 100_000 + known


def main() -> None:
    """Logs all of it to every backend that there is."""
    failing = Failing(BaseLoggerConfig(id="failing"))
    memory = LOGGERS.build({"name": "memory"})
    names = ["stdout", "json", "tensorboard", "journal"]
    known = SECRETS["environment"]
    with start_run(DIRECTORY, config=CONFIG, loggers=[*names, memory, failing], close_timeout_s=60) as run:
        part = run.component(f"marker-namespace-{known}")
        for text in texts():
            part.log_string("text", text)
        part.log_scalar(f"marker-scalar-{known}", 0.5)
        part.log_image(f"marker-image-{known}", np.eye(8))
        part.log_audio(f"marker-audio-{known}", np.linspace(-9, 9, 100))
        part.log_scalar(f"marker-bad-{known}", "text")
        part.log_scalar("raising", raising)
        run.step()
        for _ in range(3):
            run.log({"loss": 0.5})
            run.step()
    print(memory.to_pandas().to_csv())


if __name__ == "__main__":
    main()
