"""What became of the inputs of a traced model."""

from collections.abc import Mapping
from typing import NamedTuple


class TracerStats(NamedTuple):
    """What became of the inputs so far.

    Attributes:
        calls: Of the model.
        inputs: In those that the model answered; of a call whose number of inputs cannot be told, one. As many are
            ``saved``, ``pending``, ``dropped``, or ``failed`` as a kind that counts inferences.
        saved: Inferences that are in the database.
        pending: That wait for it.
        dropped: That were given up, by reason: ``queue_full``, ``closed``, ``deadline``.
        failed: What could not be done, by kind: ``input``, ``parse`` and ``truth`` count inferences that are not
            kept (an input whose number is unknown counts once), ``write`` and ``value`` those that the database
            refuses; ``hook``, ``field``, ``feature``, ``picture``, ``compare``, ``estimate``, ``setting`` and
            ``listener`` count what the others do without.
        disagreements: Inferences whose visible detections are not those that the model itself shows.
    """

    calls: int
    inputs: int
    saved: int
    pending: int
    dropped: Mapping[str, int]
    failed: Mapping[str, int]
    disagreements: int
