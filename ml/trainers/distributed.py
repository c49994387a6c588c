"""This process among the others that train the same model, as ``torchrun`` starts them.

Only the trainer talks to other ranks, and only from here: logging never does.
"""

import os
from collections.abc import Mapping
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.nn.parallel import DistributedDataParallel

from ml.core.errors import ConfigError
from ml.io.rankstore import RankStore

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class World:
    """The ranks that train together, and this one's device. One process alone is a world of size 1.

    Attributes:
        rank: Of this process, 0 ... size - 1.
        size: How many there are.
        device: Where this one computes.
        store: Through which ranks can tell each other something; ``None`` in a world of size 1.
    """

    def __init__(self, device: torch.device, *, rank: int = 0, size: int = 1, store: RankStore | None = None) -> None:
        self.device, self.rank, self.size, self.store = device, rank, size, store
        # Flags and random states are on the CPU; asking for them must not wait for a GPU.
        self._cpu_group = dist.new_group(backend="gloo") if size > 1 else None
        self._pending: tuple[Tensor, dist.Work] | None = None

    @classmethod
    def join(cls, device: str, environ: Mapping[str, str] = os.environ) -> "World":
        """Joins the ranks that the environment names; alone where it names none.

        Args:
            device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
            environ: Has what ``torchrun`` sets.

        Raises:
            ConfigError: The device is unknown or not there.
        """
        chosen = _device(device, int(environ.get("LOCAL_RANK", 0)))
        if any(name not in environ for name in _VARIABLES) or environ["WORLD_SIZE"] == "1":
            return cls(chosen)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        rank, size = dist.get_rank(), dist.get_world_size()
        store = TCPStore(environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), is_master=False)
        prefix = f"ml/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        return cls(chosen, rank=rank, size=size, store=cast(RankStore, PrefixStore(prefix, store)))

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns the model with gradients that are averaged over the ranks."""
        if self.size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def synchronize_buffers(self, model: nn.Module) -> None:
        """Gives every rank the first one's buffers: running statistics differ after a training step."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds tensors over all ranks, key by key; every rank gets the result."""
        if self.size > 1:
            for key in sorted(totals):
                dist.all_reduce(totals[key])
        return totals

    def gather(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Returns the tensors of every rank, by rank; CPU tensors with the same keys and shapes everywhere."""
        if self.size == 1:
            return [tensors]
        gathered: list[dict[str, Tensor]] = [{} for _ in range(self.size)]
        for key in sorted(tensors):
            parts = [torch.empty_like(tensors[key]) for _ in range(self.size)]
            dist.all_gather(parts, tensors[key], group=self._cpu_group)
            for rank, part in enumerate(parts):
                gathered[rank][key] = part
        return gathered

    def highest(self, number: int) -> int:
        """Returns the highest number that any rank gave; with several ranks, at the call before (0 at the first).

        Every rank gets the same answers in the same order, so all of them stop at the same step. The answer
        is one call old, so that nobody waits: the ranks agree while the next step is computed.
        """
        if self.size == 1:
            return number
        previous, given = self._pending, torch.tensor(number)
        work = dist.all_reduce(given, dist.ReduceOp.MAX, group=self._cpu_group, async_op=True)
        assert work is not None
        self._pending = (given, work)
        if previous is None:
            return 0
        previous[1].wait()
        return int(previous[0])

    def leave(self) -> None:
        """Waits for what is under way with other ranks. The process group stays, for a further run of a sweep."""
        if self._pending is not None:
            self._pending[1].wait()
            self._pending = None


def leave_process_group() -> None:
    """Leaves what ``World.join`` joined; without this the process would not end in good order."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("trainer.device=cuda, but torch finds no CUDA device. Use trainer.device=auto.")
        return torch.device("cuda", local_rank)
    raise ConfigError(f"trainer.device must be one of auto, cpu, cuda, got {name!r}.")
