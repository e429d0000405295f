"""The C++ parts on aarch64 and on x86 without AVX, under qemu: the same results as here, and no illegal instruction.

Texts, JSON, MinHash and token ids to the byte; kernels, whose sums may be fused, to rounding. Where the compilers and
emulators are not installed (apt install g++-aarch64-linux-gnu qemu-user) the tests are skipped.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.kernels import DTYPES, close, needs_cpu_kernels, random
from helpers.other_processors import AARCH64, HASWELL, NEHALEM, Machine, compile_driver, run
from steel_megatron.ops.native.library import DTYPES as NUMBERS

pytestmark = [pytest.mark.slow, needs_cpu_kernels]

TEXTS = [
    "",
    "One two, three. FOUR five! — Ünïcödé ΣΑΣ Жук Привет №5",
    "他把信放在桌上，没有再说一句话。窗外下着雨！窗外下着雨！他把信放在桌上。",
    "The quick brown fox jumps over the lazy dog. " * 40,
    "# Copyright 2020 somebody\n# all rights\nint main() { return 0; }\r\nａｂｃ　１２３…\u2028x\n",
    "The quick brown fox jumps over the lazy dog. " * 20 + "🙂 end",
]


@pytest.fixture(scope="module", params=[AARCH64, NEHALEM, HASWELL], ids=lambda machine: machine.name)
def machine(request):
    if request.param.missing():
        pytest.skip(request.param.missing())
    return request.param


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Compiled once for each compiler."""
    made: dict[str, Any] = {}

    def program(machine: Machine):
        if machine.compiler not in made:
            made[machine.compiler] = compile_driver(machine.compiler, tmp_path_factory.mktemp("driver"))
        return made[machine.compiler]

    return program


def characters(text: str) -> bytes:
    return text.encode("utf-32-le", "surrogatepass")


def integer(value: int) -> bytes:
    return struct.pack("<q", value)


def test_minhash(machine, programs):
    from steel_megatron import _minhash

    call = [b"minhash", integer(len(TEXTS)), *map(characters, TEXTS)]
    signed, plain, grams, found, records, pairs = run(machine, programs(machine), [call])
    expected = _minhash.signatures(TEXTS)[0]
    assert signed == expected.tobytes()
    assert plain == _minhash.plain_texts(TEXTS)[0].tobytes()
    overlap = _minhash.Overlap(5, 0.5, 100, 2)
    overlap.add_item(TEXTS[-1])
    assert np.frombuffer(grams, np.uint32).tolist() == list(overlap.finish())
    assert np.frombuffer(found, np.uint32).tolist() == [n for _, *best in overlap.find(TEXTS) for n in best]
    bands = _minhash.band_records(expected, np.ones(len(TEXTS), np.uint8), 7, 4)[0]
    assert records == bands.tobytes()
    assert pairs == _minhash.bucket_pairs(bands).tobytes()


def test_text(machine, programs):
    from steel_megatron._text import Text

    answers = iter(run(machine, programs(machine), [[b"text", characters(text)] for text in TEXTS]))
    for text in TEXTS:
        own = Text(text)
        numbers = [own.alphanumeric_ratio(), own.special_ratio(), *own.line_lengths(), own.character_repetition(10)]
        numbers += [own.count_words(True), own.word_repetition(3, True)]
        assert np.frombuffer(next(answers)).tolist() == numbers
        for change in (
            lambda own: own.punctuation_in_ascii(),
            lambda own: own.blanks_as_spaces(),
            lambda own: own.remove_repeated_sentences(True, True, 2),
            lambda own: own.remove_copyright(),
            lambda own: own.repair(lambda line, unescape: line),
        ):
            own = Text(text)
            change(own)
            assert next(answers) == characters(str(own))


def test_json(machine, programs):
    from steel_megatron._jsonl import extract

    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0).encode() for i, text in enumerate(TEXTS)]
    lines += [
        b'{"text": "a\x01b"}',
        b'{"text": 3}',
        b'{"text": "\\ud800"}',
        b'{"text": "cut',
        b'{"n": "\xff", "text": ""}',
    ]
    answers = run(machine, programs(machine), [[b"jsonl", integer(len(lines)), *lines]])
    (texts,), *_ = extract(b"\n".join(lines), ["text"])
    assert [answer.decode() for answer in answers] == ["bad" if text is None else f"good {text}" for text in texts]


def test_indexed(machine, programs, tmp_path):
    from steel_megatron import _indexed

    ids, lengths = np.random.default_rng(0).integers(0, 65000, 3000), np.array([1000, 0, 1999, 1])
    call = [b"indexed", str(tmp_path / "there").encode(), ids.tobytes(), lengths.tobytes()]
    tokens, error = run(machine, programs(machine), [call])
    writer = _indexed.Writer(str(tmp_path / "here"), "uint16")
    writer.add_documents(ids, lengths)
    writer.finish()
    assert struct.unpack("<q", tokens) == (3000,)
    assert b"70000" in error
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"there{suffix}").read_bytes() == (tmp_path / f"here{suffix}").read_bytes()


@dataclass
class Table:
    """Rows of numbers, the first ``addresses`` of each being tensors (None: no tensor)."""

    rows: list[list[Any]]
    addresses: int


def here(kernel: str, arguments: list[Any]) -> list[Tensor]:
    """Runs a kernel of this processor's base set on copies; returns all tensors afterwards, those of tables last."""
    from steel_megatron import _ops

    tensors, values = [], []
    inner: list[Tensor] = []
    for argument in arguments:
        given = argument
        if isinstance(given, Table):
            rows = []
            for row in given.rows:
                inner += [t.clone() for t in row[: given.addresses] if t is not None]
                own = iter(inner[-sum(t is not None for t in row[: given.addresses]) :])
                addresses = [0 if t is None else next(own).data_ptr() for t in row[: given.addresses]]
                rows.append([*addresses, *row[given.addresses :]])
            given = torch.tensor(rows)
            tensors.append(given)
        elif isinstance(given, Tensor):
            given = given.clone()
            tensors.append(given)
        values.append(0 if given is None else given.data_ptr() if isinstance(given, Tensor) else given)
    getattr(_ops.base, kernel)(*values, 1)
    return [*tensors, *inner]


def message(kernel: str, arguments: list[Any]) -> list[bytes]:
    """The same as a call of the driver."""
    buffers: list[Tensor] = []
    inner: list[Tensor] = []
    table: list[int] = []
    passed = []
    first = sum(isinstance(argument, Tensor | Table) for argument in arguments)
    for argument in arguments:
        if isinstance(argument, Table):
            rows = []
            for row in argument.rows:
                addresses = []
                for tensor in row[: argument.addresses]:
                    addresses.append(-1 if tensor is None else first + len(inner))
                    inner += [] if tensor is None else [tensor]
                rows.append([*addresses, *row[argument.addresses :]])
            table = [len(buffers), len(rows[0]), argument.addresses]
            argument = torch.tensor(rows)
        if isinstance(argument, Tensor):
            passed.append(integer(len(buffers)))
            buffers.append(argument)
        elif isinstance(argument, float):
            passed.append(struct.pack("<d", argument))
        else:
            passed.append(integer(-1 if argument is None else argument))
    data = [tensor.contiguous().view(torch.uint8).numpy().tobytes() for tensor in [*buffers, *inner]]
    places = np.array(table, dtype=np.int64).tobytes()
    return [kernel.encode(), integer(len(data)), *data, places, *passed, integer(2)]


def kernel_calls(dtype: torch.dtype) -> list[tuple[str, list[Any]]]:
    """Every kernel with sizes that are no whole vectors."""
    rows, hidden = 5, 67
    number = NUMBERS[dtype]

    def some(*shape: int, seed: int = 0, kind: torch.dtype = dtype) -> Tensor:
        return random(shape, kind, "cpu", seed)

    def empty(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=kind)

    x, grad, weight = some(rows, hidden), some(rows, hidden, seed=1), some(hidden, seed=2)
    statistics = some(rows, kind=torch.float32).abs() + 0.5
    labels = torch.tensor([3, 66, 0, 90, 12])
    row, wide_row, rows_of = empty(hidden, kind=dtype), empty(2 * hidden, kind=dtype), (rows, hidden)
    y, wide_y = row.repeat(rows, 1), wide_row.repeat(rows, 1)
    cosine, sine = (some(rows, 8, kind=torch.float32, seed=seed) for seed in (0, 1))
    turning = [1, rows, 3, 20, 8, 300, 60, 20, 300, 60, 20, 1, 1.0]
    ids, order = torch.tensor([1, 1, 1, 4, 8]), torch.tensor([2, 0, 4, 1, 3])
    calls: list[tuple[str, list[Any]]] = [
        ("norm_forward", [number, x, grad, weight, None, y, y, None, empty(rows), *rows_of, 1e-5]),
        ("norm_forward", [number, x, None, weight, weight, y, None, empty(rows), empty(rows), *rows_of, 1e-5]),
        (
            "norm_backward",
            [
                number,
                grad,
                None,
                x,
                weight,
                statistics,
                statistics,
                y,
                empty(2, hidden),
                empty(rows, 2, hidden),
                *rows_of,
            ],
        ),
        ("cross_entropy_forward", [number, x, labels, empty(rows), empty(rows), *rows_of, 0, hidden - 3]),
        (
            "cross_entropy_backward",
            [number, x, labels, statistics + 4, statistics, statistics, *rows_of, 0, hidden - 3],
        ),
        ("embedding_gradient", [number, 0, empty(9, hidden), x, ids, order, None, rows, 9, hidden]),
        (
            "rope",
            [number, some(1, rows, 3, 20), cosine, sine, empty(1, rows, 3, 20, kind=dtype), *turning],
        ),
    ]
    queries, keys, size = 2, 1, 20
    fused = some(1, rows, queries + 2 * keys, size)
    norms = [some(size, seed=1) + 1, some(size, seed=2) + 1]
    kept = empty(1, rows, queries + keys, size, kind=dtype), empty(rows, queries + keys)
    sizes = [1, rows, queries, keys, size, 8]
    calls.append(("qk_norm_rope_forward", [number, fused, *norms, cosine, sine, *kept, *sizes, 1, 1e-5]))
    heads_of = [some(1, rows, heads, size, seed=heads) for heads in (queries, keys, keys)]
    inverse = some(rows, queries + keys, kind=torch.float32).abs() + 0.5
    results = torch.zeros_like(fused), empty(2, size), empty(rows, 2, size)
    strides_of = [n * size for heads in (queries, keys, keys) for n in (rows * heads, heads, 1)]
    given = [*heads_of, fused, *norms, inverse, cosine, sine, *results]
    calls.append(("qk_norm_rope_backward", [number, *given, *sizes, *strides_of, 1]))
    linear = [x, some(9, hidden, seed=8), some(9), empty(rows, 9, kind=dtype)]
    calls.append(("few_tokens_linear", [number, *linear, rows, 9, hidden]))
    for function in range(5):
        wide = some(rows, 2 * hidden, seed=function) * 4
        calls.append(("activation_forward", [number, wide, y, function, 1, *rows_of]))
        calls.append(("activation_backward", [number, grad, wide, wide_y, function, 1, *rows_of]))
    tokens, heads, size = 75, 4, 20
    q, y_grad = some(tokens, heads, size), some(tokens, heads, size, seed=3)
    k, v = (some(tokens, 2, size, seed=seed) for seed in (1, 2))
    starts = torch.tensor([0, 70, 75], dtype=torch.int32)
    strides = [heads * size, size, 2 * size, size, 2 * size, size]
    shape = [2, heads, 2, size]
    forward = [
        number,
        q,
        k,
        v,
        empty(tokens, heads, size, kind=dtype),
        empty(heads, tokens),
        starts,
        *shape,
        *strides,
        0.2,
    ]
    y, partition = here("attention_forward", forward)[3:5]
    gradients = [empty(tokens, n, size, kind=dtype) for n in (heads, 2, 2)]
    backward = [number, y_grad, q, k, v, y, partition, *gradients, starts, *shape, *strides, 0.2]
    calls += [("attention_forward", forward), ("attention_backward", backward)]
    for moment, code in ((torch.float32, 0), (torch.bfloat16, 1)):
        states = []
        for n in (rows * hidden, 3):
            master, gradient, first, second = (some(n, seed=seed, kind=torch.float32) for seed in (4, 5, 6, 7))
            moments = [first.to(moment), second.square().to(moment)]
            states.append([some(n, seed=9), master, gradient, *moments, n, 1, 77, 0, 0, n])
        chunks = torch.tensor([[0, 0], [1, 0]])
        scale = torch.tensor(0.5, dtype=torch.float64).reshape(1)
        numbers = [1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1]
        calls.append(("adamw", [number, code, code, Table(states, 5), chunks, 2, scale, *numbers]))
    squares = Table([[some(n, seed=n, kind=torch.float32), n] for n in (300, 1)], 1)
    sums = [empty(n, kind=torch.float64) for n in (2, 1)]
    calls.append(("sum_of_squares", [0, squares, torch.tensor([[0, 0], [1, 0]]), 2, *sums]))
    return calls


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels(machine, programs, dtype):
    calls = kernel_calls(dtype)
    answers = iter(run(machine, programs(machine), [message(*call) for call in calls]))
    for name, arguments in calls:
        table = next(
            (i for i, a in enumerate(a for a in arguments if isinstance(a, Tensor | Table)) if isinstance(a, Table)), -1
        )
        for place, own in enumerate(here(name, arguments)):
            theirs = torch.frombuffer(bytearray(next(answers)), dtype=own.dtype).reshape(own.shape)
            if place == table:
                continue  # addresses
            if own.dtype.is_floating_point and own.dtype != torch.float64:
                close(theirs, own, 4.0, absolute=1e-5)
            else:
                torch.testing.assert_close(theirs, own, rtol=1e-12, atol=0)
    assert next(answers, None) is None


def test_every_kernel_is_called():
    from steel_megatron import _ops

    listed = {line.partition("(")[0] for line in _ops.SIGNATURES.splitlines()}
    assert {name for name, _ in kernel_calls(torch.float32)} == listed
