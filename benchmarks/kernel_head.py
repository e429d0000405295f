"""The head's matmul with the cross entropy, forward and backward: its time against the bare matmuls, its extra memory.

Shapes: T tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from kernel_timing import Call, fastest
from torch import Tensor, nn

from steel_megatron.ops.backends import use_kernel_backend
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.linear_cross_entropy import linear_cross_entropy
from steel_megatron.parallel.tensor.weight_grad import linear_weight_gradient

MATMULS = "the three matmuls alone, unchunked"


@dataclass
class Head:
    """Inputs. The weight's gradient is added to an fp32 buffer, as in training."""

    x_TH: Tensor
    weight_VH: nn.Parameter
    labels_T: Tensor
    grid: Grid

    @classmethod
    def random(cls, device: str, tokens: int, hidden: int, vocab: int, dtype: torch.dtype) -> Head:
        x_TH = torch.randn(tokens, hidden, device=device, dtype=dtype).requires_grad_()
        weight_VH = nn.Parameter(torch.randn(vocab, hidden, device=device, dtype=dtype) * 0.02)
        weight_VH.main_grad = torch.zeros(vocab, hidden, device=device)
        return cls(x_TH, weight_VH, torch.randint(0, vocab, (tokens,), device=device), Grid.single(device))

    def matmuls(self) -> None:
        """Logits, the gradient of x, the gradient of the weight."""
        with torch.no_grad():
            logits_TV = self.x_TH @ self.weight_VH.t()
            torch.mm(logits_TV, self.weight_VH)
            linear_weight_gradient(self.weight_VH, logits_TV, self.x_TH)

    def chunked(self, backend: str) -> None:
        """Ours: in chunks, gradients made in the forward pass."""
        use_kernel_backend(backend, self.x_TH.device.type)
        vocab_size, mask_T = len(self.weight_VH), torch.ones_like(self.labels_T, dtype=torch.bool)
        with torch.enable_grad():
            total, *_ = linear_cross_entropy(
                self.x_TH,
                self.weight_VH,
                self.labels_T,
                mask_T,
                self.grid,
                vocab_size=vocab_size,
                loss_gradient=1.0,
            )
            total.backward()
        self.x_TH.grad = None

    def plain(self, loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        """Full logits, torch's autograd; the weight's gradient is in the weight's type."""
        with torch.enable_grad():
            loss_of(self.x_TH, self.weight_VH, self.labels_T).backward()
        self.x_TH.grad = self.weight_VH.grad = None

    def calls(self, compile_too: bool) -> dict[str, Call]:
        """By contender; the bare matmuls first."""
        calls: dict[str, Call] = {
            MATMULS: self.matmuls,
            "steel, in chunks": lambda: self.chunked("steel"),
            "in chunks with torch's operations": lambda: self.chunked("torch"),
            "torch, full logits": lambda: self.plain(plain_loss),
        }
        if compile_too:
            compiled = torch.compile(plain_loss)
            calls["torch.compile, full logits"] = lambda: self.plain(compiled)
        if self.x_TH.is_cuda and importlib.util.find_spec("liger_kernel"):
            from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy as liger

            calls["Liger-Kernel"] = lambda: self.plain(lambda x, w, labels: liger(x, w, labels, reduction="sum"))
        return calls


def plain_loss(x_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> Tensor:
    """Cross entropy in fp32, summed."""
    return F.cross_entropy(F.linear(x_TH, weight_VH).float(), labels_T, reduction="sum")


@dataclass(frozen=True)
class HeadRow:
    """Seconds of forward and backward; bytes at the peak beyond inputs, weight and gradient buffer."""

    name: str
    seconds: float
    against_matmuls: float
    extra_bytes: int
    remark: str = ""


def measure(head: Head, rounds: int, compile_too: bool, deadline: float) -> list[HeadRow]:
    """One contender after the other, so that the memory of one is not another's; none is begun after the deadline."""
    device, rows, bare = head.x_TH.device.type, [], 0.0
    for name, call in head.calls(compile_too).items():
        if time.monotonic() > deadline:
            rows.append(HeadRow(name, 0.0, 0.0, 0, "out of time"))
            continue
        seconds, failed = fastest({name: call}, device, rounds)
        if name in failed:
            rows.append(HeadRow(name, 0.0, 0.0, 0, failed[name]))
        else:
            extra = extra_memory(call, device)
            bare = seconds[name] if name == MATMULS else bare
            rows.append(HeadRow(name, seconds[name], seconds[name] / bare if bare else 0.0, extra))
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return rows


def extra_memory(call: Call, device: str) -> int:
    """Bytes that a call needs at its peak, above what is there before."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def table(rows: list[HeadRow]) -> str:
    """Markdown."""
    lines = ["| head and cross entropy | ms | of the matmuls | extra memory, GB |", "| --- | --- | --- | --- |"]
    for row in rows:
        figures = f"{row.seconds * 1e3:.1f} | {row.against_matmuls:.2f} × | {row.extra_bytes / 1e9:.2f}"
        lines.append(f"| {row.name} | {f'{row.remark} | - | -' if row.remark else figures} |")
    return "\n".join(lines)
