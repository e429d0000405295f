"""Made files.tar.gz beside it, once, with the code of commit 07d5f40 (version 0.1.0).

It stands for what users have on their disks: a run with everything in its folder, the data it reads, its export, and
what the code of that time computed when it went on with the run. Made again, it would hold today's forms.

Usage, in an empty folder, with tests/ in PYTHONPATH: OMP_NUM_THREADS=1 python make.py; tar -czf files.tar.gz *
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers.golden_run import GOES_ON_TO, LAYOUTS, SAVED_AT, arithmetic, hashes, rows
from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.train import train_bpe

VOCABULARY = 280
WORDS = ["我们", "今天", "公园", "散步", "看见", "花", "天气", "很好"]
WORDS += ["the", "book", "page", "says", "that", "a", "river", "runs", "slow", "and", "cold"]
RUN = {
    "model": {
        "num_layers": 2,
        "hidden_size": 16,
        "ffn_hidden_size": 24,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "qk_layernorm": True,
        "max_position_embeddings": 64,
        "untie_embeddings_and_output_weights": False,
        "hidden_dropout": 0.1,
    },
    "phases": "phases.yaml",
    "tokenizer_model": "tokenizer",
    "split": "90,10,0",
    "packing": "best-fit",
    "reset_position_ids": True,
    "reset_attention_mask": True,
    "seq_length": 16,
    "micro_batch_size": 2,
    "global_batch_size": 8,
    "train_iters": 12,
    "lr": 1e-2,
    "min_lr": 1e-3,
    "lr_warmup_iters": 2,
    "exp_avg_dtype": "bf16",
    "precision": "bf16",
    "eval_interval": 2,
    "eval_iters": 1,
    "tensor_model_parallel_size": 2,
    "sequence_parallel": True,
    "use_distributed_optimizer": True,
    "save": "run",
    "save_interval": 2,
    "log_interval": 1,
    "device": "cpu",
    "kernel_backend": "torch",
    "measure_kernels": False,
}
PHASES = """# what the run reads
- sources:
    web: {path: web_text_document, weight: 1}
- from: 24
  ramp: 16
  sources:
    web: 1
    book: {path: book_text_document, weight: 3}  # from the third step on
"""


def steel(*words: str, processes: int = 1) -> str:
    """Runs a command as a user does and returns what it printed."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, "steel_megatron", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def write_data() -> None:
    """A tokenizer, two datasets, the two merged, and a phases file."""
    choose = random.Random(0)
    for name, documents in (("web", 60), ("book", 40)):
        texts = [" ".join(choose.choices(WORDS, k=choose.randint(2, 20))) for _ in range(documents)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    text = Path("web.jsonl").read_text() + Path("book.jsonl").read_text()
    write_folder(train_bpe([text], VOCABULARY, ["<|endoftext|>"]), ["<|endoftext|>"], Path("tokenizer"))
    for name in ("web", "book"):
        words = ["--input", f"{name}.jsonl", "--output-prefix", name, "--append-eod"]
        steel("tokenize", *words, "--tokenizer-model", "tokenizer")
        Path(f"{name}.jsonl").unlink()
    steel("merge", "--input", "web_text_document", "book_text_document", "--output-prefix", "both_text_document")
    Path("phases.yaml").write_text(PHASES)
    Path("run.yaml").write_text(yaml.safe_dump(RUN, sort_keys=False))


def go_on(layout: str) -> dict[str, Any]:
    """What comes of the run on a layout, from where it was left."""
    processes, flags = LAYOUTS[layout]
    config = ["--config", "run/config.yaml", "--load", "run", "--save", layout, "--exit-interval", str(GOES_ON_TO)]
    steel("train", *config, *flags, processes=processes)
    found = {"rows": rows(layout, SAVED_AT), "tensors": hashes(layout, GOES_ON_TO)}
    shutil.rmtree(layout)
    return found


def main() -> None:
    write_data()
    steel("train", "--config", "run.yaml", "--exit-interval", "3", processes=4)  # saves steps 2 and 3
    went_back = ["--ckpt-step", "2", "--branch", "again", "--exit-interval", str(SAVED_AT), "--save-retain", "1"]
    steel("train", "--config", "run.yaml", *went_back, processes=4)  # sets step 3 aside, saves 4, and removes 2
    steel("export", "--load", "run", "--output", "exported")
    expected = {
        "arithmetic": arithmetic(),
        "saved": hashes("run", SAVED_AT),
        "layouts": {layout: go_on(layout) for layout in LAYOUTS},
        "generated": steel("generate", "--load", "run", "--prompt", "the book", "--greedy", "--max-new-tokens", "12"),
        "inspected": steel("inspect", "--run", "run", "--step", "4"),
        "planned": json.loads(steel("mix", "plan", "--run", "run", "--json")),
    }
    Path("expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))
    for folder in Path("run").rglob("tensorboard"):  # a host's name is in those of the files
        for number, path in enumerate(sorted(folder.iterdir())):
            path.rename(folder / f"events.out.tfevents.{1_700_000_000 + number}.host.{number}.0")
    for path in Path().rglob("*lock*"):
        path.unlink()
    shutil.rmtree("__pycache__", ignore_errors=True)


if __name__ == "__main__":
    main()
