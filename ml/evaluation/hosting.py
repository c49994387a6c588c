"""Values that may lie in the memory of an accelerator."""

from ml.loggers.tensors import as_dense, is_tensor


def on_host(value: object) -> object:
    """Returns a tensor as an array that lies in this machine's memory, everything else as it is.

    Raises:
        LogValueError: It holds no real numbers.
    """
    return as_dense(value).cpu().numpy() if is_tensor(value) else value  # type: ignore[arg-type]
