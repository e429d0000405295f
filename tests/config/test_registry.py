"""Registries: names that are shipped, offered by installed packages, or given as module:Name."""

from __future__ import annotations

import sys

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.config.knob import knob, knobs_of
from steel_megatron.config.registry import Registry, shipped_in, split
from steel_megatron.config.values import convert

PLACES = {"sqrt": "math:sqrt", "join": "os.path:join", "pi": "math:pi", "broken": "nowhere.at.all:Name"}


def registry(**more) -> Registry:
    return Registry("function", "steel_megatron.test_functions", PLACES, wanted="a function", **more)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Cycle:\n"
        "    step: int\n"
        "    period: int = 10\n"
        "class Holder:\n"
        "    inner = staticmethod(len)\n"
        "number = 3\n"
    )
    return path


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two packages that offer entry points, as pip leaves them."""
    for package, lines in {"one": "mish = one.acts:mish\nsqrt = one.acts:sqrt\n", "two": "mish = two:mish\n"}.items():
        information = tmp_path / f"{package}-1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (information / "entry_points.txt").write_text(f"[steel_megatron.test_functions]\n{lines}")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "acts.py").write_text("mish = abs\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_shipped_names_are_loaded_when_asked_for():
    functions = registry()
    assert list(functions) == [*PLACES]
    assert "broken" in functions  # nothing is imported to know that
    assert functions.load("sqrt")(9) == 3
    assert not functions.outside("sqrt")
    with pytest.raises(ConfigError, match="'nowhere'"):
        functions.load("broken")


def test_installed_packages_offer_names(installed):
    functions = registry()
    assert functions.names() == (*PLACES, "mish")
    assert functions.load("mish")(-2) == 2
    assert functions.outside("mish")
    assert functions.load("sqrt")(9) == 3  # a shipped name means what it meant


def test_a_module_or_a_file_may_be_named(file, monkeypatch):
    functions = registry()
    assert functions.load("operator:add")(2, 3) == 5
    given = f"{file}:Cycle"
    assert given in functions
    assert functions.load(given) is functions.load(given) is registry().load(given)
    assert functions.load(f"{file}:Holder.inner")("ab") == 2
    monkeypatch.chdir(file.parent)
    assert functions.load("mine.py:Cycle") is functions.load(given)
    monkeypatch.syspath_prepend(file.parent)
    assert functions.load("mine:Cycle")(3).period == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sqr", "did you mean sqrt"),
        ("xyz", "steel_megatron.test_functions"),
        ("no_such_package:Name", "PYTHONPATH"),
        ("os.no_such_module:Name", "no module 'os.no_such_module'"),
        ("no_such_file.py:Name", "no file no_such_file.py"),
        ("math:sqrtt", "did you mean sqrt"),
        ("math:pi", "it is a function"),
        ("pi", "it is a function"),
    ],
)
def test_errors_name_what_is_near_and_what_may_be_given(given, said):
    with pytest.raises(ConfigError, match="--function") as caught:
        registry().load(given, "--function")
    assert said in str(caught.value)


def test_a_module_that_fails_is_named_with_its_line(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text("import math\n\nmath.sqrt(-1)\n")
    for _ in range(2):  # it is not taken for loaded the second time
        with pytest.raises(ConfigError, match=r"ValueError: .*failing\.py:3"):
            registry().load(f"{path}:Name")
    path.write_text("import a_package_that_is_missing\n")
    with pytest.raises(ConfigError, match="No module named 'a_package_that_is_missing'"):
        registry().load(f"{path}:Name")


def test_parameters_are_given_behind_the_name(file):
    functions = registry(parameters=True)
    text = f"{file}:Cycle {{period: 1000}}"
    assert split(text) == (f"{file}:Cycle", {"period": 1000})
    assert text in functions
    made = functions.make(text, "--function", 5)
    assert (made.step, made.period) == (5, 1000)
    with pytest.raises(ConfigError, match=r"takes period(.|\n)*did you mean period"):
        functions.make(f"{file}:Cycle {{perod: 1000}}", "--function", 5)
    with pytest.raises(ConfigError, match="YAML mapping"):
        split("sqrt {period")
    with pytest.raises(ConfigError, match="takes no parameters"):
        registry().spelled(text, "--function")


def test_a_mapping_is_written_as_the_flag_takes_it():
    functions = registry(parameters=True)
    for given, text in (
        ("sqrt", "sqrt"),
        ({"sqrt": None}, "sqrt"),
        ({"sqrt": {}}, "sqrt"),
        ({"math:sqrt": {"name": "中 {", "values": [1, 2.5], "flag": True}}, None),
    ):
        spelled = functions.spelled(given, "key")
        assert text in (None, spelled)
        assert functions.spelled(spelled, "key") == spelled
    assert split(spelled) == ("math:sqrt", {"name": "中 {", "values": [1, 2.5], "flag": True})
    for wrong in (["sqrt"], {"sqrt": 3}, {"a": {}, "b": {}}, 3, "sqroot"):
        with pytest.raises(ConfigError, match="one of sqrt, join"):
            functions.spelled(wrong, "key")


def test_a_knob_takes_a_registry_for_its_choices():
    from dataclasses import make_dataclass

    plain = make_dataclass("Plain", [("function", str, knob("sqrt", "One.", choices=registry()))])
    several = make_dataclass(
        "Several", [("functions", tuple[str, ...], knob((), "Some.", choices=registry(parameters=True), adds=True))]
    )
    one, some = next(knobs_of("", plain)), next(knobs_of("", several))
    assert convert(one, "math:floor", "--function") == "math:floor"
    with pytest.raises(ConfigError, match="did you mean sqrt"):
        convert(one, "sqr", "--function")
    assert convert(some, "sqrt {a: 1}", "key") == ("sqrt {a: 1}",)
    assert convert(some, {"sqrt": {"a": 1}}, "key") == ("sqrt {a: 1}",)
    assert convert(some, ["sqrt", {"x:y": {"a": 1}}], "key") == ("sqrt", "x:y {a: 1}")


def test_a_folder_of_the_package_is_listed_without_loading_it():
    places = shipped_in("corpus/corpora", "CORPUS")()
    assert places["belle"] == "steel_megatron.corpus.corpora.belle:CORPUS"
    assert "__init__" not in places
    assert "steel_megatron.corpus.corpora.zhihu_kol" in places["zhihu_kol"]
    assert sys.modules.get("steel_megatron.corpus.corpora.never") is None


def test_what_lacks_a_parameter_or_fails_when_made_is_told_in_three_lines(tmp_path):
    path = tmp_path / "given.py"
    path.write_text("def lacks(step, period): ...\n\n\ndef fails(step):\n    return {}[step]\n")
    functions = registry(parameters=True)
    with pytest.raises(ConfigError, match=r"missing a required argument: 'period'(.|\n)*takes period"):
        functions.make(f"{path}:lacks", "--function", 5)
    with pytest.raises(ConfigError, match=r"--function .*fails: KeyError: 5 \(.*given\.py:5\)"):
        functions.make(f"{path}:fails", "--function", 5)
