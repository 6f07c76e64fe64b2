"""Values of options, and options generated from constructors."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import fastvae
from fastvae._cli import docstrings, parameters, values
from fastvae._cli.explain import in_options
from fastvae._cli.parser import COMMANDS, build
from fastvae._cli.write import json_text
from fastvae.corruption import MaskingNoise
from fastvae.layers import Conv2d
from fastvae.likelihoods import Gaussian
from fastvae.optimizers import SGD


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("false", False),
        ("null", None),
        ("None", None),
        ("poisson", "poisson"),
        ('"poisson"', "poisson"),
        ("400,200", (400, 200)),
        ("[400, 200]", (400, 200)),
        ("()", ()),
        ("28x28x1", (28, 28, 1)),
        ("a,b", ("a", "b")),
        ("linear(0, 1, epochs=10)", fastvae.schedules.linear(0, 1, epochs=10)),
        ('Gaussian("shared")', Gaussian("shared")),
        ("Gaussian(shared)", Gaussian("shared")),
        ('{"Gaussian": {"scale": "shared"}}', Gaussian("shared")),
        ('{"likelihoods.Gaussian": {"scale": 2.0}}', Gaussian(2.0)),
        ("SGD(momentum=0.9, nesterov=True)", SGD(0.9, True)),
        ("MaskingNoise(0.3)", MaskingNoise(0.3)),
        ("Conv2d(32, 4, stride=2), 64", (Conv2d(32, 4, stride=2), 64)),
        ("Conv2d(8, (3, 5), padding=[1, 2])", (Conv2d(8, (3, 5), padding=(1, 2)))),
        ("2024-01-01", "2024-01-01"),
        ("a/b.csv", "a/b.csv"),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = values.parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["__import__('os')", "open('x')", "Gaussian(1, 2, 3, 4)", "nothing(1)", '{"a": 1}'])
def test_values_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not known|Gaussian: |an object is written"):
        values.parse(text)


def test_no_value_runs_code() -> None:
    assert values.parse("(lambda: 1)()") == "(lambda: 1)()"
    assert values.parse("os.system('true')") == "os.system('true')"


@pytest.mark.parametrize(
    ("command", "classes"),
    [
        ("train", [fastvae.VAE, fastvae.Autoencoder]),
        ("topics", [fastvae.TopicModel]),
        ("exam", [fastvae.ItemResponse]),
        ("recommend", [fastvae.Recommender]),
    ],
)
def test_every_parameter_of_a_constructor_is_an_option_with_a_help(command: str, classes: list[type]) -> None:
    _, parsers = build((command,))
    options = {action.dest.removeprefix("param:"): action for action in parsers[command].flags()}
    for cls in classes:
        for name in inspect.signature(cls).parameters:
            if name in ("callbacks", "communicator", "warm_start", "progress"):
                continue
            assert options[name].help, f"{cls.__name__}.{name} has no help"
            default = parameters.defaults(cls)[name]
            if cls is classes[0] and isinstance(default, (int, float, str)) and default is not False:
                assert re.search(rf"\(default: {re.escape(str(default))}[;)]", str(options[name].help))


def test_a_new_parameter_is_an_option_by_itself() -> None:
    class Model:
        """A model.

        Parameters
        ----------
        width : int
            Its width. More is better.
        quick : bool
            Whether it hurries.
        """

        def __init__(self, width: int = 7, quick: bool = False, progress: bool | None = None) -> None: ...

    from fastvae._cli.parser import Parser

    parser = Parser(prog="test")
    parser.add_argument("--quiet", action="store_true")
    parameters.add(parser, [Model])
    assert "Its width. More is better (default: 7)" in parser.format_help()
    options = parser.parse_args(["--width", "9", "--quick"])
    assert parameters.given(options, Model) == {"width": 9, "quick": True}


def test_descriptions_come_from_the_docstring() -> None:
    found = docstrings.parameters(fastvae.VAE)
    assert found["latent_dim"] == ("int", "Columns of z.")
    assert set(found) == set(inspect.signature(fastvae.VAE).parameters)
    shared = docstrings.parameters(fastvae.Autoencoder)
    assert shared["batch_size"].text == "As for fastvae.VAE."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('or pass missing="mask" if', "or pass --missing mask if"),
        ("latent_dim='abc' must be", "--latent-dim abc must be"),
        ("set random_state=3", "set --seed 3"),
        ("set conditional=True", "set --conditional"),
        ("MinMaxScaler(clip=True)", "MinMaxScaler(clip=True)"),
        ("X[0, 1] is 3", "X[0, 1] is 3"),
        (
            'X, or use fastvae.likelihoods.Gaussian("per_feature")',
            """X, or pass --likelihood 'Gaussian("per_feature")'""",
        ),
        ("Lower learning_rate (it is 9)", "Lower --learning-rate (it is 9)"),
        ("set max_marks.", "set --max-marks."),
        ("fastvae.layers and `image_shape`", "fastvae.layers and `image_shape`"),
        ("the column 'batch_size'", "the column 'batch_size'"),
    ],
)
def test_messages_name_options_in_place_of_parameters(text: str, shown: str) -> None:
    assert in_options(text) == shown


def test_every_command_has_examples_that_its_parser_accepts() -> None:
    import shlex

    _, parsers = build(None)
    seen = set()
    for name, parser in parsers.items():
        for line in (parser.epilog or "").splitlines():
            text = line.strip().split("  #")[0]
            if not text.startswith("fastvae ") or text.startswith(f"fastvae {name} is") or "goes on" in text:
                continue
            for part in text.replace(">", "|").split("|"):
                words = shlex.split(part)
                if words[:1] == ["fastvae"]:
                    parsers[words[1]].parse_args(words[2:])
                    seen.add(words[1])
    assert seen == set(COMMANDS)


def test_json_has_null_for_numbers_that_it_lacks() -> None:
    value = {"a": (np.float32(0.5), np.nan, float("inf")), "b": [np.int64(3), None, True], "c": "é"}
    assert json_text(value) == '{"a": [0.5, null, null], "b": [3, null, true], "c": "\\u00e9"}\n'
    assert json_text({"c": "é"}, ascii_only=False) == '{"c": "é"}\n'
