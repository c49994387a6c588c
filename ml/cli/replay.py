"""``mlog replay RUN --to BACKEND [DIR]``: what a run logged, given to another backend."""

import argparse
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ml.cli.output import Output, printable
from ml.cli.problems import attempts_of, tell_problems
from ml.core.errors import ConfigError
from ml.core.registry import LOGGERS
from ml.loggers.player import check_outlives
from ml.loggers.remote import remembered_place
from ml.loggers.replay import replay, send
from ml.reading import open_run


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.epilog = (
        "The values come from the journal of the run, else from its JSON lines. Doing it again replaces DIR by the\n"
        "same once more. A directory that holds something else is refused. A remote backend (mlflow, sql) takes no\n"
        "DIR: the run that it began is completed, and what is there already is not sent twice. Where that is was\n"
        "noted by the run, but for what holds a password."
    )
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="the run's directory")
    parser.add_argument(
        "--to",
        metavar=("BACKEND", "DIR"),
        nargs="+",
        required=True,
        help="tensorboard, json, journal, or any other; and where the new run goes",
    )
    parser.add_argument(
        "--set",
        metavar="SETTING=VALUE",
        action="append",
        default=[],
        help="a setting of the backend: url=sqlite:///x.db",
    )
    parser.add_argument("--from", dest="source", choices=("journal", "json"), help="read only this")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Replays the run; returns 1 where something of it was left out.

    Raises:
        FileNotFoundError: There is no run.
        ConfigError: There is nothing to replay, no such backend or one that keeps nothing, or the directory holds
            something else.
        OSError, WriteError: The result cannot be written.
    """
    run_directory = open_run(arguments.run_directory).path
    name, *directories = arguments.to
    check_outlives(name)
    place = remembered_place(run_directory / name)
    backend = LOGGERS.build({"name": name, "write_every_n_seconds": 0, **place, **_settings(arguments.set)})
    if len(directories) != (0 if backend.is_remote else 1):
        where = "keeps what it is given elsewhere" if backend.is_remote else "writes files"
        usage = f"mlog replay RUN --to {name}{'' if backend.is_remote else ' DIR'}"
        raise ConfigError(f"The backend {name!r} {where}: {usage}, got {len(directories)} directories.")
    if backend.is_remote:
        report = send(run_directory, backend, source=arguments.source)
    else:
        report = replay(run_directory, backend, Path(directories[0]), source=arguments.source)
    to = printable(name if backend.is_remote else report.directory)
    output.line(f"{report.written} values of {attempts_of(report.attempts)}, from {printable(report.source)} to {to}")
    if report.unsupported:
        output.line(f"{report.unsupported} of kinds that {printable(name)} does not take", style="dim")
    if report.excluded:
        output.line(f"{report.excluded} of keys that {printable(name)} is not to be given", style="dim")
    tell_problems(report.problems, report.num_problems, output)
    return 1 if report.num_problems else 0


def _settings(given: list[str]) -> dict[str, object]:
    """Returns settings as OmegaConf reads them: ``["flush=true"]`` is ``{"flush": True}``.

    Raises:
        ConfigError: One has no value, or is no setting.
    """
    for setting in given:
        if "=" not in setting:
            raise ConfigError(f"--set takes SETTING=VALUE, got {setting!r}.")
    try:
        return {str(name): value for name, value in OmegaConf.from_dotlist(given).items()}
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"--set {' '.join(given)} cannot be read: {str(error).splitlines()[0]}") from error
