import csv
import io

from ml import BaseLogger, BaseLoggerConfig, register_logger
from ml.io.files import AppendFile


@register_logger("tsv", BaseLoggerConfig)
class TsvLogger(BaseLogger[BaseLoggerConfig]):
    def initialize(self, context):
        super().initialize(context)
        self.file, self.rows = AppendFile(self.log_directory / "log.tsv"), io.StringIO()

    def log_scalar(self, key, value, state, namespace):
        csv.writer(self.rows, "excel-tab").writerow((state.phase, state.num_steps, namespace, key, value()))

    def write(self, state):
        rows, self.rows = self.rows.getvalue(), io.StringIO()
        self.file.append(rows.encode(errors="backslashreplace"))

    def flush(self):
        self.file.sync()

    def close(self):
        self.file.close()
