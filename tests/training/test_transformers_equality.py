"""20 steps in tensor, pipeline and data parallel follow a plain transformers model trained by torch's AdamW."""

from __future__ import annotations

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from helpers.hf_state import to_hugging_face
from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.config import check_run, load_run_config
from steel_megatron.huggingface.options import family_of
from steel_megatron.model.gpt import GPT
from steel_megatron.optim.schedule import LearningRate
from steel_megatron.parallel.grid import Grid
from steel_megatron.samples.build import build_datasets
from steel_megatron.training.output.metrics_rows import read_metrics

STEPS = 20
SHAPES = {
    "llama": {"num_layers": 4},
    "qwen2": {"num_layers": 4, "add_qkv_bias": True, "untie_embeddings_and_output_weights": False},
}


def reference_losses(config, family: str) -> list[float]:
    """Single process, transformers, torch.optim.AdamW, on the same batches from the same initial weights."""
    ours = GPT(config.model, Grid.single(), dtype=torch.float32, seed=config.training.seed)
    options = {
        "vocab_size": config.model.vocab_size,
        "hidden_size": config.model.hidden_size,
        "intermediate_size": config.model.ffn_hidden_size,
        "num_hidden_layers": config.model.num_layers,
        "num_attention_heads": config.model.num_attention_heads,
        "num_key_value_heads": config.model.query_groups,
        "max_position_embeddings": config.model.max_position_embeddings,
        "rms_norm_eps": config.model.norm_epsilon,
        "tie_word_embeddings": config.model.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options), attn_implementation="eager")
    theirs.load_state_dict(to_hugging_face(ours, family_of(config.model)), strict=False)
    matrices = [p for p in theirs.parameters() if p.dim() > 1]
    vectors = [p for p in theirs.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1.0,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    schedule = LearningRate(config.optimizer, config.training)
    size, length = config.training.global_batch_size, config.training.seq_length
    losses = []
    with build_datasets(config, total_samples=STEPS * size).train as data:
        for step in range(STEPS):
            batches = list(data.global_batch(step * size, size))
            tokens = torch.cat([batch.tokens_BS for batch in batches])
            labels = torch.cat([batch.labels_BS for batch in batches])
            logits = theirs(input_ids=tokens).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = schedule.at(step, step * size, step * size * length)
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", sorted(SHAPES))
def test_three_dimensions_follow_transformers(tmp_path, family):
    path = run_config(
        tmp_path, precision="fp32", train_iters=STEPS, eval_iters=0, save_interval=1000, lr=3e-3, min_lr=3e-4
    )
    tree = yaml.safe_load(path.read_text())
    tree["model"] = {**MODEL, **SHAPES[family]}
    path.write_text(yaml.safe_dump(tree))
    layout = ["--tensor-model-parallel-size", "2", "--sequence-parallel", "--pipeline-model-parallel-size", "2"]
    train(path, *layout, processes=8)
    config = check_run(load_run_config(path))
    found = [row["loss"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    expected = reference_losses(config, family)
    assert found[-1] < 0.9 * found[0]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=0)
