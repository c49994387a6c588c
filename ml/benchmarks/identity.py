"""What is known of the process that measures. Which processes share a run: ``ml.db.runs``."""

import json
import os
import sys
from pathlib import Path

from ml.core.redact import Redactor
from ml.db.runs import run_variable
from ml.io.runrecord import describe_process

RUN_VARIABLE = run_variable("benchmark")


def script_name() -> str:
    """Returns the file name of the outermost script; ``""`` in an interactive session."""
    main = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv or [""])[0]
    return "" if main in ("", "-c", "-m") else Path(main).name


def described(redactor: Redactor) -> dict[str, object]:
    """Returns the columns of ``runs`` that say who measures, where, and on which versions; secrets are out of them."""
    about = describe_process(redactor, sys.argv, os.environ)
    return {
        "host": str(about["host"]),
        "pid": about["pid"],
        "argv": json.dumps(about["argv"]),
        "versions": json.dumps(about["versions"]),
    }
