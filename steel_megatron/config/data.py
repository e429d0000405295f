"""What the model reads."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config.choices import PackingMethod, TokenizerType
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import TOLD, knob
from steel_megatron.config.ranges import COUNT, at_least
from steel_megatron.config.sample_ranges import parse_ranges
from steel_megatron.config.section import Section


@dataclass(frozen=True)
class DataConfig(Section):
    """Sources, their mixture and how samples are cut from them."""

    data_path: tuple[str, ...] | None = knob(
        None, "PREFIX, or WEIGHT PREFIX WEIGHT PREFIX …: datasets without .bin/.idx; divided by --split."
    )
    train_data_path: tuple[str, ...] | None = knob(None, "Training data, like --data-path, whole.")
    valid_data_path: tuple[str, ...] | None = knob(None, "Validation data, like --data-path, whole.")
    phases: str | None = knob(None, "YAML file of phases: from which sample on which sources with which weights.")
    split: str = knob("949,50,1", "Shares of documents for training, validation, test.")
    tokenizer_type: TokenizerType | None = knob(
        None,
        "Kind of tokenizer; recognised from --tokenizer-model when unset.",
    )
    tokenizer_model: str | None = knob(None, "Tokenizer: a folder, a hub name or a vocabulary file.")
    reset_position_ids: bool = knob(False, "Positions start again with each document.", changed=TOLD)
    reset_attention_mask: bool = knob(False, "Tokens attend only within their document.", changed=TOLD)
    eod_mask_loss: bool = knob(False, "No loss on the prediction that follows an end-of-document token.")
    packing: PackingMethod = knob(
        "none",
        "Samples are cut from the tokens in a row (none), or made of whole documents where they fit (best-fit).",
    )
    data_cache_path: str | None = knob(None, "Folder of the index that best-fit packing makes; unset: beside the data.")
    skip_samples: tuple[str, ...] = knob(
        (),
        "FROM:TO …: leave out these samples of the data's order, the last not included; may be given several times. "
        "Checkpoints keep them.",
        unit="samples",
        adds=True,
    )
    num_workers: int = knob(
        2, "Threads that prepare batches ahead.", allowed=at_least(0, most=1024, zero="read when asked")
    )
    prefetch: int = knob(4, "Micro-batches kept ready.", unit="micro-batches", allowed=COUNT)

    def check(self) -> None:
        super().check()
        parse_ranges(self.skip_samples)
        if self.data_path and (self.train_data_path or self.valid_data_path):
            raise ConfigError(
                "--data-path beside --train-data-path or --valid-data-path",
                rule="data is either divided by --split or given apart",
                fix="use one of the two",
            )
