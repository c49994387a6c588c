import subprocess
import sys
from pathlib import Path

from ml import tracing

REFERENCE = Path(__file__).parents[2] / "docs" / "api" / "tracing.md"
FACTORIES = {"ObjectDetectionLogger", "ObjectDetectionTracer", "ClassificationLogger", "ClassificationTracer"}


def test_every_public_name_is_there_and_in_the_reference():
    documented = {line.rpartition(".")[2] for line in REFERENCE.read_text().splitlines() if line.startswith(":::")}

    assert tracing.__all__ == sorted(set(tracing.__all__))
    assert all(getattr(tracing, name) is not None for name in tracing.__all__)
    assert set(tracing.__all__) - FACTORIES <= documented
    assert set(dir(tracing)) == set(tracing.__all__)


def test_naming_the_package_or_reading_traces_loads_no_torch():
    program = """
import sys
from ml import tracing
tracing.Selection, tracing.open_traces
print(sorted({"torch", "sklearn", "pandas", "pyarrow"} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
