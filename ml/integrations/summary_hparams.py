"""A row of TensorBoard's table of hyperparameters, from what ``SummaryWriter.add_hparams`` is given."""

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from ml.core.errors import LogValueError
from ml.core.plain import plain_mapping
from ml.core.redact import Redactor
from ml.integrations.summary_logger import Events
from ml.integrations.summary_values import number, redacted

HParam = str | float


def row(
    hparams: object, metrics: object, domains: object, *, run: str, step: int, redactor: Redactor | None = None
) -> Events:
    """Returns the events of a row.

    Args:
        hparams: Numbers, truth values (numbers, as torch's writer has them), texts; ``None`` is left out. Secrets are
            taken out of texts.
        metrics: Numbers; each is a scalar of the row's run.
        domains: All values that a hyperparameter can have, by its name; or ``None``.
        run: The TensorBoard run of the row, below that of the writer.
        step: That of the metrics.
        redactor: By default one that knows the secrets of the environment.

    Raises:
        LogValueError: One of them is no such mapping.
    """
    from ml.integrations import summary_events as events

    redactor = redactor or Redactor(os.environ)
    given = {name: _hparam(name, value) for name, value in _mapping("hparam_dict", hparams) if value is not None}
    redactor.learn_config(given)
    measured = {tag: _number(f"The metric '{tag}'", value) for tag, value in _mapping("metric_dict", metrics)}
    choices = redacted(_domains(domains, given), redactor.redact_text)
    public = plain_mapping(redactor.redact_config(given))
    safe = {
        redactor.redact_text(name): value if isinstance(value, float) else str(shown)
        for (name, value), shown in zip(given.items(), public.values(), strict=True)
    }
    metrics_shown = {redactor.redact_text(tag): value for tag, value in measured.items()}
    values = events.session(safe, metrics_shown, choices)
    return Events((events.summary(values),), tuple(metrics_shown), step, run)


def run_of(name: str, log_dir: str) -> str:
    """Returns where a row's run lies, below the writer's: ``name``, but never outside; ``"."`` is the writer's own.

    A path that leads to ``log_dir`` when it is joined to it, as scripts give one to have the row there, is that.
    """
    path = os.path.relpath(os.path.join(log_dir, name), log_dir)
    return PurePath(path).name if path.startswith("..") else path


def _mapping(name: str, values: object) -> "Sequence[tuple[str, object]]":
    if not isinstance(values, Mapping):
        raise LogValueError(f"{name} is a dictionary, got a {type(values).__name__}")
    return [(str(key), value) for key, value in values.items()]


def _hparam(name: str, value: object) -> HParam:
    return value if isinstance(value, str) else _number(f"The hyperparameter '{name}'", value)


def _number(what: str, value: object) -> float:
    found = number(value)[0]
    if not isinstance(found, int | float):
        found = getattr(
            found, "item", lambda: None
        )()  # one that lies on an accelerator: rows are rare, so it is waited for
    if isinstance(found, int | float):
        return float(found)
    raise LogValueError(f"{what} is a number or a text, got a {type(value).__name__}", "Give its str().")


def _domains(domains: object, hparams: Mapping[str, HParam]) -> dict[str, list[HParam]]:
    found: dict[str, list[HParam]] = {}
    for name, choices in [] if domains is None else _mapping("hparam_domain_discrete", domains):
        if name not in hparams or not isinstance(choices, list):
            raise LogValueError(f"hparam_domain_discrete[{name!r}] is a list of values of a hyperparameter")
        found[name] = [_hparam(name, choice) for choice in choices]
        if any(isinstance(choice, str) != isinstance(hparams[name], str) for choice in found[name]):
            raise LogValueError(f"hparam_domain_discrete[{name!r}] holds other types than hparam_dict[{name!r}]")
    return found
