"""How long, how much at once, in which precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steel_megatron.config.choices import (
    AttentionBackend,
    DeviceChoice,
    Fp8Format,
    Fp8Recipe,
    KernelBackend,
    Precision,
    RecomputeGranularity,
    RecomputeMethod,
    TransformerImpl,
)
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import TOLD, UNSAID, knob
from steel_megatron.config.ranges import AMOUNT, COUNT, LENGTH, POSITIVE, at_least
from steel_megatron.config.registry import Registry
from steel_megatron.config.section import Section

# An entry is called with the parameters given behind its name, and gives a Callback (training/loop.py).
CALLBACKS: Registry[Callable[..., Any]] = Registry(
    "callback",
    "steel_megatron.callbacks",
    {
        "sample_texts": "steel_megatron.training.callbacks.sample_texts:SampleTexts",
    },
    wanted="a class made from steel_megatron.Callback",
    parameters=True,
)

RECOMPUTE_MODULES = ("core_attn", "layernorm", "mlp_act")


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Batches, length, precision and exit conditions of a run."""

    seq_length: int = knob(2048, "Length of a training sample.", unit="tokens", allowed=LENGTH, changed=TOLD)
    micro_batch_size: int = knob(4, "Samples per forward pass and data-parallel rank.", unit="samples", allowed=LENGTH)
    global_batch_size: int | None = knob(
        None,
        "Samples per optimizer step, over all ranks; micro-batch × data-parallel size when unset.",
        unit="samples",
        allowed=COUNT,
    )
    rampup_batch_size: tuple[int, ...] | None = knob(
        None,
        "START INCREMENT SAMPLES: grow the global batch from START by INCREMENT steps over SAMPLES samples.",
        allowed=COUNT,
    )
    train_iters: int | None = knob(None, "Length of the run.", unit="steps", allowed=COUNT)
    train_samples: int | None = knob(
        None, "Length of the run, instead of --train-iters.", unit="samples", allowed=COUNT
    )
    seed: int = knob(1234, "Seed of weights, data order and dropout.", allowed=AMOUNT)
    precision: Precision = knob("bf16", "Type of weights and activations in the forward pass.", changed=TOLD)
    transformer_impl: TransformerImpl = knob(
        "local",
        "The blocks' linear layers: of this package (local) or of Transformer Engine.",
    )
    fp8_format: Fp8Format | None = knob(
        None,
        "Matmuls of the blocks' linear layers in 8 bits: E4M3 (e4m3), with gradients in E5M2 (hybrid). Unset: none.",
    )
    fp8_recipe: Fp8Recipe = knob(
        "tensorwise",
        "Scale of an 8-bit tensor: by its own largest element (tensorwise), or by those of earlier steps (delayed, "
        "Transformer Engine only).",
    )
    fp8_amax_history_len: int = knob(1024, "Earlier steps that a delayed scale looks at.", unit="steps", allowed=COUNT)
    z_loss_coeff: float = knob(
        0.0,
        "Adds this times the squared logarithm of the softmax's partition function to each token's training loss.",
        allowed=at_least(0, zero="none"),
    )
    loss_scale: float | None = knob(None, "Fixed fp16 loss scale; dynamic when unset.", allowed=POSITIVE)
    initial_loss_scale: float = knob(2.0**16, "First dynamic loss scale.", allowed=POSITIVE)
    min_loss_scale: float = knob(1.0, "Lowest dynamic loss scale.", allowed=POSITIVE)
    loss_scale_window: int = knob(1000, "Steps without overflow before the scale doubles.", unit="steps", allowed=COUNT)
    hysteresis: int = knob(2, "Overflows before the scale halves.", allowed=COUNT)
    accumulate_allreduce_grads_in_fp32: bool = knob(
        True, "Accumulate and reduce gradients in fp32; off: in the type of the weights, less exact."
    )
    recompute_granularity: RecomputeGranularity = knob(
        "none",
        "Drop activations and compute them again in the backward pass: whole blocks (full) or parts (selective).",
    )
    recompute_modules: tuple[str, ...] = knob(
        ("layernorm", "mlp_act"),
        "Selective recomputation of the norms' outputs (layernorm), the activation's output (mlp_act), and what lies "
        "between the attention's projections (core_attn).",
    )
    recompute_method: RecomputeMethod = knob(
        "uniform",
        "Full recomputation: keep the input of every group of layers (uniform), or recompute the first layers of each "
        "stage alone (block).",
    )
    recompute_num_layers: int | None = knob(
        None,
        "Layers of a group (uniform; 1 when unset) or recomputed per stage (block; all when unset).",
        allowed=COUNT,
    )
    eval_interval: int = knob(
        1000, "Steps between validations.", unit="steps", allowed=at_least(0, zero="at the end alone")
    )
    eval_iters: int = knob(10, "Global batches per validation.", allowed=at_least(0, zero="no validation"))
    exit_interval: int | None = knob(
        None,
        "Save and leave when the step is a multiple of this.",
        unit="steps",
        changed=UNSAID,
        allowed=at_least(0, zero="never"),
    )
    exit_duration_in_mins: float | None = knob(
        None, "Save and leave after this time.", unit="minutes", changed=UNSAID, allowed=at_least(0, zero="never")
    )
    exit_signal_handler: bool = knob(
        True, "SIGTERM, SIGUSR1, SIGINT (Ctrl-C; a second one leaves at once) and SIGHUP save and leave."
    )
    deterministic_mode: bool = knob(
        False,
        "The same run on the same GPUs gives the same bits, and a stopped one continues bitwise; slower. On CPUs that "
        "holds anyway.",
    )
    device: DeviceChoice = knob("auto", "Where the model runs; auto: cuda if present.")
    kernel_backend: KernelBackend = knob(
        "auto",
        "Whose kernels: this package's (steel), this package's functions fused by torch.compile (compiled), torch's, "
        "Transformer Engine's (te) or apex's, where they have the operation; auto: what was measured fastest for each.",
    )
    attention_backend: AttentionBackend = knob(
        "auto",
        "Attention by flash-attn (flash2, flash3, flash4; inside torch's own: sdpa_flash3, sdpa_flash4), cuDNN (cudnn, "
        "fused), this package's kernel for CPUs (steel), the kernel that torch picks (sdpa) or plain matmuls (unfused, "
        "local); flash: the newest FlashAttention that is there, torch's own at last.",
    )
    measure_kernels: bool = knob(
        True,
        "On a GPU whose kernels were not yet timed with these versions, do that first, once, in about half a minute; "
        "otherwise auto goes by a table.",
    )
    compile_blocks: bool = knob(
        False,
        "Let torch.compile fuse what lies between the matmuls of each block (norms, RoPE, activation), instead of the "
        "kernels that --kernel-backend chooses for it.",
    )
    enable_cuda_graph: bool = knob(
        False, "Replay the forward and backward pass of a micro-batch as one CUDA graph (data parallel alone)."
    )
    cuda_graph_warmup_steps: int = knob(
        3, "Steps without the graph before it is captured.", unit="steps", allowed=COUNT
    )
    check_for_nan_in_loss_and_grad: bool = knob(
        True,
        "Stop before the optimizer touches a weight when loss or gradient norm is not finite; "
        "in fp16 when the loss is.",
    )
    max_skipped_steps: int = knob(
        0,
        "Leave out up to this many steps of the run whose loss or gradient is not finite, instead of stopping. "
        "What fp16's loss scale answers is not counted. The host then waits for each step's gradient norm.",
        unit="steps",
        allowed=at_least(0, zero="none"),
    )
    callback: tuple[str, ...] = knob(
        (),
        "What else happens while a run trains: 'NAME {PARAMETER: VALUE}', in YAML also a mapping; may be given several "
        "times.",
        choices=CALLBACKS,
        changed=UNSAID,
        adds=True,
    )
    manual_gc: bool = knob(True, "Collect Python garbage at fixed steps, the same on every rank.")
    manual_gc_interval: int = knob(
        100, "Steps between garbage collections.", unit="steps", allowed=at_least(0, zero="never")
    )

    def check(self) -> None:
        super().check()
        for module in self.recompute_modules:
            if module not in RECOMPUTE_MODULES:
                raise ConfigError(
                    f"--recompute-modules {module}",
                    rule=f"each is one of {', '.join(RECOMPUTE_MODULES)}",
                    fix="--recompute-granularity full gives up whole blocks",
                )
        if self.train_iters is None and self.train_samples is None:
            raise ConfigError(
                "no length of the run", rule="a run has a length", fix="give --train-iters or --train-samples"
            )
        if self.train_iters is not None and self.train_samples is not None:
            raise ConfigError(
                "--train-iters and --train-samples together",
                rule="the length is given once",
                fix="leave one of them out",
            )
        if self.rampup_batch_size is not None and len(self.rampup_batch_size) != 3:
            raise ConfigError(
                f"--rampup-batch-size {list(self.rampup_batch_size)}",
                rule="three numbers: START INCREMENT SAMPLES",
                fix="for example --rampup-batch-size 16 16 100000",
            )
        if self.train_iters is not None and self.rampup_batch_size is not None:
            raise ConfigError(
                "--rampup-batch-size with --train-iters",
                rule="a ramp-up run is measured in samples",
                fix="use --train-samples",
            )
        if self.min_loss_scale > self.initial_loss_scale:
            raise ConfigError(
                f"--min-loss-scale {self.min_loss_scale} above --initial-loss-scale {self.initial_loss_scale}",
                rule="the first loss scale is no lower than the lowest",
                fix="lower --min-loss-scale",
            )
