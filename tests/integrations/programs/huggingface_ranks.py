"""Two processes of a ``transformers.Trainer`` with one run, which the callback starts."""

import sys
from functools import partial

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import ml
from ml.integrations.huggingface import HuggingFaceCallback


class Sentences(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        return {"input_ids": torch.arange(4) + index, "labels": torch.tensor(index % 2)}


directory, output = sys.argv[1:]
config = BertConfig(
    vocab_size=32,
    max_position_embeddings=8,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=8,
)
arguments = TrainingArguments(
    output_dir=output, max_steps=4, logging_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no"
)
callback = HuggingFaceCallback(partial(ml.start_run, directory, loggers=["json"]))
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=Sentences(), callbacks=[callback])
trainer.train()
print(f"rank {arguments.process_index} in {callback.run.path}", flush=True)
