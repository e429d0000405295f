"""Where pieces stand in a state dict, and what is said when a state dict does not fit."""

from __future__ import annotations

import pytest
import torch

from helpers.tiny_models import tiny_config
from steel_megatron.config import CheckpointError
from steel_megatron.huggingface.families.gpt2 import FAMILY as GPT2
from steel_megatron.huggingface.families.llama import FAMILY as LLAMA
from steel_megatron.huggingface.family import Family, Place
from steel_megatron.huggingface.names import Target, match_names, targets_of
from steel_megatron.huggingface.options import read_options
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import Piece, parameters_with_spec


def targets(name: str) -> list[Target]:
    family, config = read_options(tiny_config(name).to_dict())
    model = GPT(config, Grid.single(), dtype=torch.float32, device="meta")
    return targets_of(parameters_with_spec([model]), family)


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {target.name: target.shape for target in targets(name)}


def piece(name: str, shape: tuple[int, ...], rows: int | None = None) -> Piece:
    return Piece(f"{name}.weight", shape, shape, (0,) * len(shape), rows=rows)


def family(**places: Place) -> Family:
    made = Family()
    made.name, made.places = "Toy", places
    return made


def parameter(*pieces: Piece) -> torch.Tensor:
    class WithSpec:
        spec = type("Spec", (), {"pieces": pieces})

    return WithSpec()  # type: ignore[return-value]  # only its spec is read


def test_parts_lie_side_by_side_along_the_output_dimension_of_conv1d():
    toy = family(**{what: Place("c_attn", transpose=True, part=(k, 3)) for k, what in enumerate("qkv")})
    (target,) = targets_of([parameter(*(piece(what, (2, 3)) for what in "vqk"))], toy)
    assert (target.name, target.shape) == ("c_attn.weight", (3, 6))
    tensors = {f"{what}.weight": torch.full((2, 3), float(k)) for k, what in enumerate("qkv")}
    joined = target.join(tensors)
    assert joined[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert joined.is_contiguous()
    assert all(torch.equal(part, tensors[name]) for name, part in target.split(joined).items())


def test_padding_is_cut_off():
    (target,) = targets_of([parameter(piece("e", (8, 2), rows=5))], family(e=Place("e")))
    assert target.shape == (5, 2)
    assert target.numel == 10
    assert torch.equal(target.join({"e.weight": torch.arange(16.0).view(8, 2)}), torch.arange(10.0).view(5, 2))


def test_parts_that_do_not_make_a_whole_are_a_mistake():
    with pytest.raises(ValueError, match="do not make a whole"):
        targets_of([parameter(piece("q", (2, 2)))], family(q=Place("c", part=(0, 2))))
    with pytest.raises(ValueError, match="both claim"):
        targets_of([parameter(piece("a", (2, 2)), piece("b", (2, 2)))], family(a=Place("c"), b=Place("c")))
    with pytest.raises(ValueError, match="has no place in Toy"):
        targets_of([parameter(piece("a", (2, 2)))], family())


def test_all_that_differs_is_listed():
    present = shapes("llama")
    present["model.norm.weight"] = (47,)
    del present["model.layers.0.self_attn.q_proj.weight"], present["model.layers.1.self_attn.q_proj.weight"]
    present["model.layers.0.self_attn.q_proj.bias"] = (48,)
    with pytest.raises(CheckpointError) as caught:
        match_names(present, targets("llama"), LLAMA, "FOLDER")
    text = str(caught.value)
    assert text.startswith("FOLDER")
    assert "missing: model.layers.*.self_attn.q_proj.weight (× 2)" in text
    assert "unexpected: model.layers.*.self_attn.q_proj.bias" in text
    assert "model.norm.weight is [47] instead of [48]" in text


def test_masks_and_frequencies_of_old_files_are_passed_over():
    present = shapes("gpt2") | {"transformer.h.0.attn.bias": (1, 1, 96, 96), "transformer.h.1.attn.masked_bias": ()}
    assert set(match_names(present, targets("gpt2"), GPT2, "")) == set(shapes("gpt2"))
    present = shapes("llama") | {"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}
    assert set(match_names(present, targets("llama"), LLAMA, "")) == set(shapes("llama"))


def test_a_tied_head_may_be_there_and_an_untied_one_must():
    assert "lm_head.weight" not in shapes("llama_tied_multi_head")
    present = shapes("llama_tied_multi_head") | {"lm_head.weight": (211, 48)}
    match_names(present, targets("llama_tied_multi_head"), LLAMA, "")
    present = shapes("llama")
    del present["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"missing: lm_head\.weight"):
        match_names(present, targets("llama"), LLAMA, "")


def test_names_of_a_base_model_are_taken():
    present = {name.removeprefix("transformer."): shape for name, shape in shapes("gpt2").items()}
    found = match_names(present, targets("gpt2"), GPT2, "")
    assert found["transformer.h.0.attn.c_attn.weight"] == "h.0.attn.c_attn.weight"
