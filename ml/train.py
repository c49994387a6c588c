"""The training entry; arguments are Hydra overrides: ``python -m ml.train trainer.max_steps=50 'logger=[json]'``."""

import itertools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ml.core.errors import ConfigError
from ml.core.registry import CALLBACKS, LOGGERS, MODELS, TASKS, TRAINERS
from ml.core.run import RunContext, resolve_primary_rank
from ml.core.state import State
from ml.hydra import check_config, config_directory, explain, register_configs
from ml.io.rundir import RunDirectory, Status, start_run_directory
from ml.loggers import LoggerGroup

if TYPE_CHECKING:
    from ml.trainers.distributed import World

ROOT = Path("runs")
_MAX_NAME_LENGTH = 120


def train(config: DictConfig) -> float:
    """Trains as configured, logs, and says where.

    Args:
        config: As composed from ``configs/config.yaml``.

    Returns:
        The objective of the trainer: what a sweep compares.

    Raises:
        ConfigError: The configuration is wrong; nothing was made.
        SystemExit: Ctrl-C or SIGTERM ended it early, in good order; the status is 128 + the signal.
    """
    check_config(config)
    # Here, so that a mistake on the command line is found before torch is loaded.
    from ml.trainers.base import Attempt, BaseTrainer
    from ml.trainers.distributed import World
    from ml.trainers.randomness import seed_everything
    from ml.trainers.signals import StopSignals

    trainer: BaseTrainer[Any] = TRAINERS.build(config.trainer)
    seed_everything(trainer.config.seed)
    task = TASKS.build(config.task)
    model = MODELS.build(config.model)
    callbacks = [CALLBACKS.build(callback) for callback in config.callbacks.values()]
    world = World.join(trainer.config.device)
    total_steps = trainer.total_steps(task, world.size)
    loggers = [LOGGERS.build(backend) for backend in _backends(config, total_steps)]
    LoggerGroup.check(loggers, config.run.on_error, config.run.close_timeout_s)

    primary_rank = resolve_primary_rank(config.run.primary_rank, world.size)
    run = _start_run(config, trainer.config.resume, world, primary_rank)
    context = RunContext(
        run.path, attempt=run.attempt, rank=world.rank, world_size=world.size, primary_rank=primary_rank
    )
    status: Status = "failed"
    try:
        with StopSignals() as signals:
            with LoggerGroup(
                loggers,
                context,
                store=world.store,
                on_error=config.run.on_error,
                close_timeout_s=config.run.close_timeout_s,
                audit_syncs=config.run.audit_syncs,
            ) as logs:
                logs.log_config(config)
                start = State(start_time_s=run.started_s, elapsed_time_s=run.elapsed_time_s)
                trainer.fit(task, model, Attempt(context, logs, world, signals, start), callbacks)
            status = "finished" if trainer.interrupted_by is None else "interrupted"
    except KeyboardInterrupt:  # a second Ctrl-C
        status = "interrupted"
        raise
    finally:
        run.finish(status, elapsed_time_s=trainer.state.elapsed_time_s)
    if context.is_primary:
        _say(_farewell(run.path, trainer.interrupted_by))
    if trainer.interrupted_by is not None:
        raise SystemExit(128 + trainer.interrupted_by)
    return trainer.objective


def main() -> None:
    """Runs ``train`` with the command line's overrides. A wrong configuration costs one line and exit status 2."""
    # Hydra's own report has many lines and no list of keys; errors come here instead.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_configs()
    entry = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")(_train_job)
    try:
        _check_sweep(sys.argv[1:])
        entry()
    except (HydraException, OmegaConfBaseException, ConfigError) as error:
        sys.exit(_refusal(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if "torch.distributed" in sys.modules:
            from ml.trainers.distributed import leave_process_group

            leave_process_group()


def _train_job(config: DictConfig) -> float:
    try:
        return train(config)
    except ConfigError as error:  # not an error of the job: Hydra would add a line of its own
        sys.exit(_refusal(error))


def _refusal(error: Exception) -> int:
    print(f"ml.train: {explain(error)}", file=sys.stderr)
    return 2


def _check_sweep(arguments: list[str]) -> None:
    """Composes every job of a sweep: Hydra writes its settings before it looks at the first."""
    if not {"-m", "--multirun"} & set(arguments):
        return
    texts = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    overrides = OverridesParser.create().parse_overrides([text for text in texts if not text.startswith("hydra")])
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_discrete_sweep()
        else [str(override.input_line)]
        for override in overrides
        if override.is_discrete_sweep() or not override.is_sweep_override()
    ]
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        for job in itertools.product(*choices):
            check_config(hydra.compose("config", overrides=list(job)))


def _backends(config: DictConfig, total_steps: int) -> list[DictConfig]:
    """Fills in what only the run knows: the number of steps, and the id of a second backend of one type."""
    backends: list[DictConfig] = []
    for key, backend in config.loggers.items():
        if "total_steps" in backend and backend.total_steps is None:
            backend.total_steps = total_steps
        if key != backend.name and backend.get("id") is None:
            OmegaConf.update(backend, "id", key, force_add=True)
        backends.append(backend)
    return backends


def _start_run(config: DictConfig, resume: str | None, world: "World", primary_rank: int) -> RunDirectory:
    root, directory = ROOT / config.run.name, config.run.directory
    settings = HydraConfig.get() if HydraConfig.initialized() else None
    if settings is not None and settings.mode == RunMode.MULTIRUN and directory is None:
        root = Path(settings.sweep.dir)
        directory = root / _job_name(settings.job.num, settings.job.override_dirname)
    from ml.trainers.resume import newest_unfinished

    found = newest_unfinished(root) if resume == "auto" else resume
    return start_run_directory(
        found or directory,
        root=root,
        resume=found is not None,
        config=config,
        rank=world.rank,
        world_size=world.size,
        primary_rank=primary_rank,
        store=world.store,
    )


def _job_name(number: int, overrides: str) -> str:
    return re.sub(r"[^\w.,=+-]", "_", f"{number}-{overrides}")[:_MAX_NAME_LENGTH]


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:  # nobody reads any more; without this Python would fail again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _farewell(run: Path, interrupted_by: int | None) -> str:
    """Says where the run is, and how to look at it or go on."""
    here = Path.cwd()
    shown = run.relative_to(here) if run.is_relative_to(here) else run
    logdir = ROOT if shown.is_relative_to(ROOT) else shown
    tensorboard = Path(sys.executable).parent / "tensorboard"
    if tensorboard.is_relative_to(here):
        tensorboard = tensorboard.relative_to(here)
    lines = [f"The run is in {shown}"]
    if (run / "tensorboard").is_dir():
        lines.append(f"To see it:  {tensorboard} --logdir {logdir} --samples_per_plugin images=200,scalars=10000")
    if interrupted_by is not None:
        lines.append(f"To go on:   add trainer.resume={shown} to the command line")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
