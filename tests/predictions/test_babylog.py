"""``Babylog``: names, arguments and configuration of the library that it is modelled on, and what went wrong there."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.core.errors import ConfigError
from ml.predictions import Babylog, InferenceDevice, LoggedPrediction, VisionModelType
from ml.predictions.device_file import config_of, read_sections

LIMIT_S = 20.0
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
CONFIG = f"""\
device:
  ip: 127.0.0.1
  port: 5555
  name: camera-3
  group: factory
data:
  interval: 0
  max_workers: 2
S3_storage:
  aws_access_key_id: AKIAIOSFODNN7EXAMPLE
  aws_secret_access_key: {SECRET}
  bucket_name: predictions
  bucket_region: eu-central-1
"""
IMAGE = np.zeros((8, 8, 3), np.uint8)
BOX = {"x": 1, "y": 2, "width": 3, "height": 4, "confidence": 0.5, "classification": {"cat": 0.5}}


@pytest.fixture
def config_path(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    return path


def test_the_configuration_of_the_ancestor_works_unchanged_and_files_go_to_its_directory(config_path, tmp_path):
    with Babylog(str(config_path)) as babylog:
        future = babylog.log(IMAGE, VisionModelType.DETECTION, "yolo", "1.0.0", detection=[BOX])
        logged = future.result(LIMIT_S)

    read = LoggedPrediction.from_path(str(tmp_path / "babylog" / logged.key))
    assert Path(logged.path).absolute() == tmp_path / "babylog" / logged.key
    assert read.device_details == {"device_name": "camera-3", "group_name": "factory"}
    assert read.detection[0]["x"] == 1


def test_arguments_and_defaults_are_those_of_the_ancestor_in_its_order():
    log, init = inspect.signature(Babylog.log), inspect.signature(Babylog.__init__)

    positional = [p for p in log.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [(p.name, p.default) for p in positional[1:]] == [
        ("image", inspect.Parameter.empty),
        ("model_type", inspect.Parameter.empty),
        ("model_name", inspect.Parameter.empty),
        ("model_version", inspect.Parameter.empty),
        ("home_dir", "./babylog/"),
        ("prediction", None),
        ("timestamp", None),
        ("latency", None),
        ("inference_device", None),
        ("classification", None),
        ("detection", None),
        ("error_message", ""),
    ]
    assert [(p.name, p.default) for p in list(init.parameters.values())[1:]] == [
        ("config_path", inspect.Parameter.empty),
        ("save_local", True),
        ("save_cloud", False),
        ("stream", False),
    ]


def test_every_argument_can_be_given_by_position(config_path, tmp_path):
    with Babylog(config_path) as babylog:
        arguments = (IMAGE, VisionModelType.CLASSIFICATION, "m", "1", str(tmp_path / "home"), IMAGE, 1_674_993_193_473)
        logged = babylog.log(*arguments, 10, InferenceDevice.GPU, {"cat": 0.5}, None, "slow").result(LIMIT_S)

    read = LoggedPrediction.from_path(logged.path)
    assert logged.path.startswith(str(tmp_path / "home" / "CLASSIFICATION"))
    assert read.timestamp == 1_674_993_193_473
    assert (read.inference_stats["latency"], read.error_message) == (10, "slow")


def test_files_of_a_home_without_a_slash_are_inside_of_it(config_path, tmp_path):
    with Babylog(config_path) as babylog:
        babylog.log(IMAGE, VisionModelType.NONE, "m", "1", home_dir="home").result(LIMIT_S)

    assert [path.name for path in (tmp_path / "home").iterdir()] == ["NONE"]


def test_two_predictions_of_one_millisecond_are_two_files(config_path, tmp_path):
    with Babylog(config_path) as babylog:
        for _ in range(20):
            babylog.log(IMAGE, VisionModelType.NONE, "m", "1", timestamp=5)

    assert len(list(tmp_path.rglob("*.bin"))) == 20


def test_shutdown_writes_what_is_left_and_may_come_twice(config_path, tmp_path):
    babylog = Babylog(config_path)
    for _ in range(20):
        babylog.log(IMAGE, VisionModelType.NONE, "m", "1")
    babylog.shutdown()
    babylog.shutdown()

    assert len(list(tmp_path.rglob("*.bin"))) == 20


def test_the_part_about_s3_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, "device: {name: camera}\ndata: {interval: 5}\n")

    with Babylog(path) as babylog:
        assert babylog.config.interval_ms == 5
    with pytest.raises(ConfigError, match="save_cloud=True needs 'bucket_name' in the section 'S3_storage'"):
        Babylog(path, save_cloud=True)
    with pytest.raises(ConfigError, match="stream=True needs 'ip' in the section 'device'"):
        Babylog(path, stream=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device: {nmae: camera}", "unknown key 'nmae' in 'device'"),
        ("devices: {}", "unknown section 'devices'"),
        ("[1, 2]", "holds no sections"),
        ("device: 5", "the section 'device' holds settings, not int"),
        ("device: {name: [", "this is no YAML"),
        ("data: {interval: soon}", "data.interval must be a number, got str"),
        ("data: {max_workers: 1.5}", "data.max_workers must be a whole number, got float"),
        ("logger: {run_id: [1]}", "logger.run_id must be a text, got list"),
        ("logger: {keep_below_confidence: low}", "logger.keep_below_confidence must be a number or null, got str"),
        ("logger: {max_local_bytes: lots}", "logger.max_local_bytes must be a whole number or null, got str"),
        ("data: {interval: 0}\nlogger: {codec: bmp}", "codec must be one of"),
        ("logger: {local: 1}", "unknown key 'local' in 'logger'"),
        ("device:\n  name: ${NO_SUCH_VARIABLE}", "names the variable NO_SUCH_VARIABLE, which is not set"),
        ("device: !!python/object/apply:os.system ['touch pwned']", "this is no YAML"),
        ("\x00", "this is no YAML"),
        (f"S3_storage:\n  aws_secret_access_key: *{SECRET}\n", "line 2, column 26: this is no YAML"),
    ],
)
def test_a_wrong_configuration_is_told_with_the_key_and_without_its_values(tmp_path, monkeypatch, text, problem):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, text)

    with pytest.raises(ConfigError, match=r".") as caught:
        Babylog(path)

    assert problem in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_settings_of_the_spool_and_the_stream_have_their_types_too(config_path, tmp_path):
    for section, problem in (
        ("logger: {spool_directory: [1]}", "logger.spool_directory must be a text, got list"),
        ("logger: {max_spool_bytes: lots}", "logger.max_spool_bytes must be a whole number, got str"),
        ("stream: {max_queued: lots}", "stream.max_queued must be a whole number, got str"),
    ):
        with pytest.raises(ConfigError) as caught:
            Babylog(written(tmp_path, f"{CONFIG}{section}\n"), save_cloud=True, stream=True)
        assert str(caught.value).startswith(problem)
    port = CONFIG.replace("port: 5555", "port: high")
    with pytest.raises(ConfigError, match=r"device\.port must be a whole number, got str"):
        Babylog(written(tmp_path, port), stream=True)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml cannot be read"):
        Babylog(tmp_path / "missing.yaml")


def test_variables_of_the_environment_stand_for_values_that_may_hold_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMERA", "camera ${HOME} 3")
    path = written(tmp_path, "device: {name: '${CAMERA}'}\n")

    config = config_of(read_sections(path), save_local=True, save_cloud=False, stream=False)

    assert config.device_name == "camera ${HOME} 3"


def test_any_further_setting_goes_under_logger(tmp_path):
    text = "logger: {codec: png, keep_below_confidence: 0.5, max_local_bytes: 1000000, retention: oldest_first}"

    config = config_of(read_sections(written(tmp_path, text)), save_local=True, save_cloud=False, stream=False)

    assert (config.codec, config.keep_below_confidence) == ("png", 0.5)
    assert (config.local.max_local_bytes, config.local.retention) == (1000000, "oldest_first")


def test_the_bucket_and_its_credentials_are_those_of_the_file(config_path):
    store = config_of(read_sections(config_path), save_local=False, save_cloud=True, stream=False).cloud.store

    assert (store.url, store.region) == ("s3://predictions", "eu-central-1")
    assert (store.access_key_id, store.secret_access_key) == ("AKIAIOSFODNN7EXAMPLE", SECRET)
    assert SECRET not in repr(store)


def test_importing_and_logging_needs_no_torch_and_writes_nothing_but_records(config_path, tmp_path):
    program = """
import sys
import numpy as np
from ml.predictions import Babylog, VisionModelType
with Babylog("config.yaml") as babylog:
    babylog.log(np.zeros((8, 8, 3), np.uint8), VisionModelType.NONE, "m", "1").result(20)
loaded = {"torch", "tensorboard", "hydra", "pandas", "obstore", "zmq", "sqlalchemy", "matplotlib"} & sys.modules.keys()
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)

    assert [path.name for path in (tmp_path / "babylog").iterdir()] == ["NONE"]
