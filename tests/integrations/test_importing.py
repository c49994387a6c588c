"""What other programs logged, imported: run directories that open_run, mlog and TensorBoard read."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from torch.utils.tensorboard import SummaryWriter

from ml.core.errors import ConfigError, WriteError
from ml.integrations.importing import import_runs
from ml.reading import open_run, open_runs
from ml.session import start_run
from ml.testing.disk import FaultyDisk
from tests.loggers.tensorboard_reader import accumulated


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two runs of torch's writer, with training and validation."""
    directory = tmp_path_factory.mktemp("logs")
    for name, rate in (("a", 0.1), ("b", 0.2)):
        with SummaryWriter(directory / name) as writer:
            writer.add_hparams({"lr": rate}, {}, run_name=".")
            for step in range(1, 12):
                writer.add_scalar("loss", rate / step, step, walltime=1.7e9 + step)
            writer.add_text("note", "hello", 3)
            writer.add_image("picture", np.full((3, 4, 4), 7, np.uint8), 4)
        with SummaryWriter(directory / name / "val") as writer:
            writer.add_scalar("loss", 2 * rate, 11, walltime=1.7e9 + 20)
    return directory


def files_in(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def curves(directory):
    """What TensorBoard reads of a folder: scalars by tag."""
    peer = accumulated(directory)
    return {tag: [(p.step, p.wall_time, p.value) for p in peer.Scalars(tag)] for tag in peer.Tags()["scalars"]}


def test_a_run_of_torch_is_what_tensorboard_read_of_it(logs, tmp_path):
    (report,) = import_runs(logs / "a", tmp_path / "run")

    run = open_run(tmp_path / "run")
    frame = run.scalars("loss")
    for phase, folder in (("train", "a"), ("valid", "a/val")):
        ours = frame[frame.phase == phase]
        times = [time.timestamp() for time in ours.time]
        assert list(zip(ours.step, times, ours.value, strict=True)) == curves(logs / folder)["loss"]
        assert curves(tmp_path / f"run/tensorboard/{phase}")["loss"] == curves(logs / folder)["loss"]
    assert run.strings("note").value.tolist() == ["hello"]
    assert run.images("picture")[0].open().size == (4, 4)
    assert run.config == {"lr": 0.1}
    assert report.num_problems == 0
    assert report.kinds == {"scalar": 12, "string": 1, "image": 1}


def test_the_record_says_that_and_from_where_a_run_was_imported(logs, tmp_path):
    import_runs(logs / "a", tmp_path / "run", wall_clock=lambda: 1.8e9)

    record = json.loads((tmp_path / "run/attempts/1/run.json").read_text())
    assert record["imported"] == {
        "from": str(logs / "a"),
        "format": "tensorboard",
        "time": "2027-01-15T08:00:00.000000Z",
    }
    assert open_run(tmp_path / "run").status == "finished"
    assert record["start"] == "2023-11-14T22:13:21.000000Z"


def test_of_several_runs_each_has_a_directory_of_its_own(logs, tmp_path):
    reports = import_runs(logs, tmp_path / "runs")

    runs = open_runs(tmp_path / "runs")
    assert sorted(runs) == ["a", "b"]
    assert [report.directory for report in reports] == [tmp_path / "runs/a", tmp_path / "runs/b"]
    assert runs.config["lr"].to_dict() == {"a": 0.1, "b": 0.2}


def our_run(path, backends, attempts=1):
    state = None
    every = [{"name": name, "write_every_n_seconds": 0, "write_media_every_n_seconds": 0} for name in backends]
    for _ in range(attempts):
        with start_run(path, config={"lr": 0.5}, loggers=every, resume="auto", state=state, on_error="raise") as run:
            for step in range(1, 6):
                run.log({"task/loss": 0.5**step, "count": step})
                run.logger.log_histogram("task/weights", np.arange(10.0))
                run.logger.log_point_cloud("cloud", np.eye(3, dtype=np.float32))
                run.logger.log_video("video", np.zeros((2, 3, 64, 64), np.uint8))
                run.logger.log_audio("sound", np.linspace(-1, 1, 100), sample_rate=8000)
                run.log({"note": f"at {step}"})
                run.step()
                if step == 3:
                    state = run.state
            with run.phase("valid"):
                run.log({"task/loss": 0.75})
                run.step()
    return run.path


def without_time(frame):
    return frame.drop(columns=["time", "epoch"])


def test_our_own_run_comes_back_from_its_event_files_with_its_attempts(tmp_path):
    path = our_run(tmp_path / "run", ("json", "tensorboard"), attempts=2)

    (report,) = import_runs(path / "tensorboard", tmp_path / "again")

    again, run = open_run(tmp_path / "again"), open_run(path)
    assert (report.attempts, report.num_problems) == (2, 0)
    pd.testing.assert_frame_equal(without_time(again.scalars()), without_time(run.scalars()), rtol=1e-6)
    pd.testing.assert_frame_equal(without_time(again.strings()), without_time(run.strings()))
    assert again.config == run.config
    for phase in ("train", "valid"):
        assert curves(tmp_path / f"again/tensorboard/{phase}") == curves(path / f"tensorboard/{phase}")


def test_every_kind_of_our_event_files_comes_back(tmp_path):
    path = our_run(tmp_path / "run", ("json", "tensorboard"))
    import_runs(path / "tensorboard", tmp_path / "again")

    ours, again = (
        [json.loads(line) for line in (run / "json/log.jsonl").read_text().splitlines()]
        for run in (path, tmp_path / "again")
    )
    for section in ("videos", "audios", "point_clouds"):
        for line in ours:
            for key, value in line.get(section, {}).items():
                found = [other[section][key] for other in again if key in other.get(section, {})]
                assert value["sha256"] in {other["sha256"] for other in found}
    bins = next(line["histograms"]["task/weights"] for line in again if "histograms" in line)
    assert bins["counts"] == next(line["histograms"]["task/weights"] for line in ours if "histograms" in line)["counts"]


def test_our_own_table_comes_back_bit_by_bit(tmp_path):
    path = our_run(tmp_path / "run", ("json", "csv"), attempts=2)

    (report,) = import_runs(path / "csv", tmp_path / "again", backends=["json", "csv"])

    pd.testing.assert_frame_equal(open_run(tmp_path / "again").scalars(), open_run(path).scalars(), check_exact=True)
    assert (tmp_path / "again/csv/log.csv").read_bytes() == (path / "csv/log.csv").read_bytes()
    assert report.attempts == 2


def test_lightnings_table_becomes_a_run_with_its_settings(tmp_path):
    folder = tmp_path / "version_0"
    folder.mkdir()
    (folder / "hparams.yaml").write_text("lr: 0.1\n")
    (folder / "metrics.csv").write_text("epoch,step,train_loss,val_loss\n0,9,0.25,\n0,9,,0.5\n")

    import_runs(folder, tmp_path / "run")

    run = open_run(tmp_path / "run")
    assert list(run.scalars()[["step", "key", "value"]].itertuples(index=False, name=None)) == [
        (9, "train_loss", 0.25),
        (9, "val_loss", 0.5),
    ]
    assert run.config == {"lr": 0.1}


def test_secrets_of_settings_stay_outside(tmp_path):
    (tmp_path / "hparams.yaml").write_text("api_key: canary-1234567\n")
    (tmp_path / "metrics.csv").write_text("step,note\n1,it is canary-1234567\n")

    import_runs(tmp_path, tmp_path.parent / "imported")

    files = [path for path in (tmp_path.parent / "imported").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"canary" in path.read_bytes()]


def test_a_failure_at_any_call_leaves_nothing_and_the_source_as_it_was(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/metrics.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    for call in range(1, 10**6):
        with FaultyDisk(range(call, 10**9), calls=("open", "write", "rename", "make_directory")) as disk:
            with suppress(OSError, WriteError):
                import_runs(tmp_path / "source", tmp_path / "run", backends=["json"])
            succeeded = (tmp_path / "run").exists()
        assert succeeded == (not disk.failures)
        if succeeded:
            break
        assert files_in(tmp_path) == ["source", "source/metrics.csv"]
    assert call > 5
    assert len(open_run(tmp_path / "run").scalars()) == 2


def test_ctrl_c_leaves_nothing(logs, tmp_path, monkeypatch):
    from ml.integrations import event_folders

    real = event_folders.read

    def interrupted(source, tell):
        yield from list(real(source, tell))[:5]
        raise KeyboardInterrupt

    monkeypatch.setattr(event_folders, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_runs(logs, tmp_path / "runs")

    assert files_in(tmp_path) == []


def test_what_is_left_out_is_told_once(logs, tmp_path):
    shutil.copytree(logs / "a", tmp_path / "a")
    (path, *_) = sorted((tmp_path / "a").glob("*tfevents*"))
    path.write_bytes(path.read_bytes()[:-2])

    (report,) = import_runs(tmp_path / "a", tmp_path / "run")

    assert report.num_problems == len(report.problems) == 1
    assert "not whole" in report.problems[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backends": ["memory"]}, "keeps nothing"),
        ({"backends": []}, "got none"),
        ({"backends": ["json", "json"]}, "once each"),
        ({"format": "tensorbord"}, "A format is one of"),
        ({"format": "csv"}, "no source of the format csv"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(logs, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        import_runs(logs, tmp_path / "runs", **arguments)

    assert files_in(tmp_path) == []


def test_a_directory_that_is_there_is_refused(logs, tmp_path):
    (tmp_path / "run").mkdir()

    with pytest.raises(ConfigError, match="is there already"):
        import_runs(logs / "a", tmp_path / "run")


def test_a_source_of_two_formats_asks_which(logs, tmp_path):
    shutil.copytree(logs / "a", tmp_path / "a")
    (tmp_path / "a/metrics.csv").write_text("step,loss\n1,0.5\n")

    with pytest.raises(ConfigError, match=r"tensorboard and csv logged.* --format tensorboard"):
        import_runs(tmp_path / "a", tmp_path / "run")
    import_runs(tmp_path / "a", tmp_path / "run", format="csv")
    assert len(open_run(tmp_path / "run").scalars()) == 1


def test_a_source_without_values_or_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n")

    with pytest.raises(ConfigError, match="Nothing was logged"):
        import_runs(tmp_path / "metrics.csv", tmp_path / "run")
    with pytest.raises(ConfigError, match="nothing to import"):
        import_runs(tmp_path / "metrics.csv", tmp_path / "run", format="wandb")
    with pytest.raises(FileNotFoundError):
        import_runs(tmp_path / "absent", tmp_path / "run")
