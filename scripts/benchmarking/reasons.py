"""Why ours is not ahead, where it is not: by workload, figure and the peer that is."""

from collections.abc import Mapping

_CSV = "it appends to a list, and writes it every 100 steps on the training thread: see its p99, and what a kill loses"
_TRACKIO = "it appends to a list, which a thread writes every 0.5 s: see its CPU, and what a kill loses"
_NO_SYNC = "ours is handed over, written and synced to the disk here; it leaves the disk to the operating system"
_ENCODED = "it encoded each value on the training thread, where ours has some left to do, and then syncs the disk"
_AT_ONCE = (
    "each of its records opens, appends to and closes the file, which is what makes it so slow; ours gathers for 50 ms"
)

REASONS: Mapping[tuple[str, str, str], str] = {
    ("scalars", "p50_s", "Lightning CSVLogger"): _CSV,
    ("scalars", "mean_s", "Lightning CSVLogger"): _CSV,
    ("scalars", "cpu_s", "Lightning CSVLogger"): "a row of its file has no keys, no times and no checksum",
    ("scalars", "p50_s", "trackio"): _TRACKIO,
    ("scalars", "p99_s", "trackio"): _TRACKIO,
    ("scalars", "max_s", "trackio"): _TRACKIO,
    ("scalars", "mean_s", "trackio"): _TRACKIO,
    **{
        ("scalars", "close_s", peer): _NO_SYNC
        for peer in ("SummaryWriter", "tensorboardX", "W&B offline", "Lightning CSVLogger")
    },
    **{
        (workload, "close_s", peer): _ENCODED
        for workload in ("images", "histograms")
        for peer in ("SummaryWriter", "tensorboardX", "W&B offline", "trackio", "SwanLab offline")
    },
    ("images", "cpu_s", "SwanLab offline"): "both spend it on PNG",
    ("histograms", "bytes", "W&B offline"): "64 counts in JSON; TensorBoard's format wants 64 x 3 numbers of 64 bits",
    **{
        ("training", figure, "Lightning CSVLogger"): "it has no pictures and no histograms, and writes every 100 steps"
        for figure in ("slower_percent", "p99_more_s", "longest_more_s", "cpu_more_s")
    },
    ("training", "slower_percent", "trackio"): _TRACKIO,
    **{(way, "lost_rows", "SummaryWriter"): _AT_ONCE for way in ("killed_process", "killed_job")},
}
