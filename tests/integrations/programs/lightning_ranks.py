"""Trains on two ranks with a logger that starts its run when the ranks are known; says which run each rank has."""

import sys
from functools import partial

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

import ml
from ml.integrations.lightning import LightningLogger


class Model(BoringModel):
    def training_step(self, batch, index):
        loss = self(batch).square().mean()
        self.log("loss", loss)
        self.log("everyone", float(self.global_rank), sync_dist=True)
        return loss


if __name__ == "__main__":
    torch.manual_seed(0)
    directory, how = sys.argv[1:]
    start = partial(ml.start_run, directory, loggers=["json"])
    logger = LightningLogger(start() if how == "early" else start)
    trainer = Trainer(
        logger=logger,
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_steps=6,
        limit_val_batches=0,
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
    )
    trainer.fit(Model())
    print(f"rank {trainer.global_rank} in {logger.experiment.path}", flush=True)
