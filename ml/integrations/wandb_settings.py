"""What the W&B backend can be told, and what it tells W&B."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml.core.config import conf_field
from ml.loggers.base import BaseLoggerConfig

if TYPE_CHECKING:
    import wandb

MODES = ("online", "offline", "disabled")

_INIT_TIMEOUT_S = 15.0  # W&B's process, and with it the interpreter, ends no sooner
_FLUSH_EVERY_S = 0.1
_NOT_IN_A_PROJECT = re.compile(r"[/\\#?%:\x00-\x1f]")
_MAX_PROJECT_CHARACTERS = 128
_OFFLINE_ONCE = "dryrun"  # what W&B called it

_log = logging.getLogger("ml")


@dataclass
class WandbLoggerConfig(BaseLoggerConfig):
    """What the W&B backend can be told, beside what every backend can.

    Attributes:
        mode: ``online``, ``offline`` (for ``wandb sync``) or ``disabled``; by default what ``WANDB_MODE`` says if it is
            one of these, else ``offline``: nothing leaves the machine that nobody asked for.
        project: By default what ``WANDB_PROJECT`` says, else the name of the folder that the run's directory is in.
        entity: The team or user; by default W&B's own default.
        group: Shows runs of one group together.
        tags: Of the run.
        run_name: By default the name of the run's directory.
        system_metrics: Whether W&B records the use of CPU, memory, disk and GPU, every 15 s.
        finish_timeout_s: How long closing waits, online, for what is not uploaded yet; ``wandb sync`` uploads the
            rest. More needs a longer ``close_timeout_s`` of the run too.
    """

    mode: str | None = None
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    tags: list[str] = conf_field([])
    run_name: str | None = None
    system_metrics: bool = True
    finish_timeout_s: float = 8.0


def mode_of(environ: Mapping[str, str]) -> str:
    """Returns the mode that ``WANDB_MODE`` says; ``offline``, with a notice, where W&B alone knows what it says."""
    mode = environ.get("WANDB_MODE") or "offline"
    if mode in MODES:
        return mode
    if mode != _OFFLINE_ONCE:
        _log.warning("WANDB_MODE=%s is none of %s: the backend 'wandb' is offline.", mode, ", ".join(MODES))
    return "offline"


def project_of(config: WandbLoggerConfig, run: Path) -> str | None:
    """Returns the name of the project, without what W&B does not take in it; ``None`` is what ``WANDB_PROJECT`` says.

    Args:
        config: Of the backend.
        run: The run's directory, absolute.
    """
    project = config.project
    if project is None:
        if os.environ.get("WANDB_PROJECT"):
            return None
        project = run.parent.name
    return _NOT_IN_A_PROJECT.sub("-", project)[:_MAX_PROJECT_CHARACTERS] or None


def settings_of(config: WandbLoggerConfig, directory: Path) -> "wandb.Settings":
    """Returns settings under which W&B keeps to what it is given: no console, code, arguments, packages or host.

    Args:
        config: Of the backend.
        directory: Where W&B makes the folder of the run, absolute.
    """
    import wandb

    return wandb.Settings(
        root_dir=str(directory),
        console="off",
        silent=True,
        symlink=False,
        save_code=False,
        disable_code=True,
        disable_git=True,
        label_disable=True,
        init_timeout=_INIT_TIMEOUT_S,
        finish_timeout=config.finish_timeout_s,
        stop_fn=lambda: None,  # else a click on the web page interrupts the main thread
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=not config.system_metrics,
        x_save_requirements=False,
        # What a killed process leaves: W&B keeps what it is given for 15 s else.
        x_transaction_log_flush_interval=_FLUSH_EVERY_S,
    )


def has_key(host: str) -> bool:
    """Whether an API key for a server of W&B is configured; asks nobody, and prints nothing."""
    from wandb.sdk.lib import wbauth

    return wbauth.authenticate_session(host=host, source="ml", prompt=False, update_session=False) is not None
