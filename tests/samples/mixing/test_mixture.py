from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.samples.mixing.mixture import BOUND, Mixture

weight = st.one_of(
    st.integers(1, 20).map(Fraction),
    st.fractions(Fraction(1, 10**6), 1),
    st.integers(0, 40).map(lambda power: Fraction(1, 2**power)),
    st.floats(1e-12, 1e12).map(Fraction),
)
mixtures = st.lists(weight, min_size=1, max_size=12).map(
    lambda weights: {f"s{number}": weight for number, weight in enumerate(weights)}
)


def shares(weights: dict[str, Fraction]) -> dict[str, Fraction]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


@given(mixtures)
def test_counts_stay_within_the_bound_at_every_prefix(weights: dict[str, Fraction]) -> None:
    mixture = Mixture(weights)
    counts = dict.fromkeys(weights, 0)
    for sample in range(400):
        name, earlier = mixture.at(sample)
        assert earlier == counts[name]
        counts[name] += 1
        assert counts == mixture.counts(sample + 1)
        assert all(abs(counts[name] - share * (sample + 1)) < BOUND for name, share in shares(weights).items())


@given(mixtures, st.integers(0, 1 << 56))
def test_bound_far_out(weights: dict[str, Fraction], samples: int) -> None:
    counts = Mixture(weights).counts(samples)
    assert sum(counts.values()) == samples
    assert all(abs(counts[name] - share * samples) < BOUND for name, share in shares(weights).items())


@given(st.fractions(Fraction(1, 1000), Fraction(999, 1000)), st.integers(0, 10**9))
def test_two_sources_stay_within_a_half(share: Fraction, samples: int) -> None:
    counts = Mixture({"a": share, "b": 1 - share}).counts(samples)
    assert abs(counts["a"] - share * samples) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_errors_of_levels_add_up_in_a_deep_tree() -> None:
    # The proof's worst case: one half is not enough of a bound here.
    fibonacci = [1, 1]
    while len(fibonacci) < 16:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    weights = {f"{number:02}": Fraction(weight) for number, weight in enumerate(fibonacci)}
    wanted = shares(weights)
    mixture = Mixture(weights)
    worst = max(abs(mixture.counts(n)[name] - wanted[name] * n) for n in range(3000) for name in ("00", "01"))
    assert 0.9 < worst < BOUND


@given(mixtures, st.lists(st.integers(0, (1 << 62) - 1), max_size=40))
def test_vectorised_is_the_same(weights: dict[str, Fraction], samples: list[int]) -> None:
    mixture = Mixture(weights)
    sources, earlier = mixture.at_many(np.array(samples, np.int64))
    assert [(mixture.names[s], e) for s, e in zip(sources, earlier.tolist(), strict=True)] == [
        mixture.at(sample) for sample in samples
    ]


@given(mixtures, st.integers(1, 1000), st.randoms())
def test_scale_and_order_of_the_mapping_do_not_matter(weights: dict[str, Fraction], scale: int, random) -> None:
    items = [(name, weight * scale) for name, weight in weights.items()]
    random.shuffle(items)
    first, second = Mixture(weights), Mixture(dict(items))
    assert [first.at(n) for n in range(100)] == [second.at(n) for n in range(100)]


def test_samples_do_not_change_between_versions() -> None:
    mixture = Mixture({"a": Fraction(1, 2), "b": Fraction(3, 10), "c": Fraction(1, 5)})
    assert "".join(mixture.at(n)[0] for n in range(20)) == "bacabacababacabacaba"


def test_many_sources_have_short_paths() -> None:
    mixture = Mixture({f"{number:04}": Fraction(1) for number in range(1024)})
    node, depth = mixture.root, 0
    while not isinstance(node, int):
        node, depth = node.left, depth + 1
    assert depth == 10


@pytest.mark.parametrize("weights", [{}, {"a": Fraction(0)}, {"a": Fraction(1), "b": Fraction(-1)}])
def test_weights_not_above_zero(weights: dict[str, Fraction]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Mixture(weights)
