"""The parameters a notebook declares, and the one check that YAML, command line and notebook all go through.

A notebook's `parameters` cell is parsed with `ast`: papermill's own inspection drops `str | None` and infers no type.
"""

import ast
import difflib
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# Least and most of what a number may be, by a parameter's name; checked wherever the type is, before anything runs
RANGES = {
    "seed": (0, 2**32 - 1),
    "workers": (0, 1024),
    "image_height": (32, 4096),  # five halvings leave one cell of 32 pixels
    "image_width": (32, 4096),
    "near_duplicate": (0, 1),
    "spacing_range_mm": (0.001, 10),
    "image_window_days": (0, 36_500),
    "voi_index": (0, 1000),
    "archive_patients": (0, 10**5),
    "test_share": (0, 0.99),
    "development_images": (16, 10**6),  # the traps of 00 need hosts
    "test_images": (6, 10**6),
    "conspicuity": (0, 10),
    "visibility": (0, 10),
    "epochs": (1, 10**5),
    "checkpoint_every": (0, 10**5),
    "frozen_blocks": (0, 5),
    "head_epochs": (0, 10**5),
    "downsampling_draws": (0, 1000),
    "batch_size": (1, 10**5),
    "folds": (1, 100),
    "networks": (1, 100),
    "bootstrap_draws": (100, 10**6),  # 2.5 % of fewer is one or two draws
    "examples": (1, 100),
    "shufflings": (1, 100),
    "validation_share": (0, 0.5),
    "learning_rate": (1e-10, 1000),  # below, float32 steps move nothing
    "head_learning_rate": (1e-10, 1000),
    "clip_norm": (1e-10, 1e10),
    "rotation": (0, 3.1416),  # radians
    "shift": (0, 0.99),
    "brightness": (0, 0.99),
    "dropout": (0, 0.99),
    "width": (0.001, 4),  # 1 is the published VGG-16
    "operation_threads": (0, 1024),
}
# What a text may be, where that is a closed list; what the modules take from here needs no list of its own
CHOICES = {
    "layout": ("registry", "archive", "mini-mias", "cbis-ddsm", "cdd-cesm", "inbreast", "vindr-mammo", "cmmd"),
    "split": ("by_patient", "by_date", "from_registry", "by_image"),
    "storage_classes": ("mammography", "computed_radiography", "secondary_capture"),
    "voi": ("lut", "window", "none"),
    "repeated_takes": ("last", "all"),
    "aspect": ("pad", "stretch"),
    "background": ("zero", "keep"),
    "channels": (1, 3),
    "input_scaling": ("unit", "standardise", "imagenet"),
    "head": ("fc", "dense256", "gap"),
    "initializer": ("glorot_uniform", "he_normal", "he_uniform"),
    "optimizer": ("adam", "sgd"),
    "schedule": ("constant", "cosine"),
    "keep": ("last", "best"),
    "folds_by": ("patient", "image"),
    "clip": ("global", "variable", "none"),
    "fill": ("constant", "reflect"),
    "dtype_policy": ("float32", "mixed_bfloat16", "auto"),
    "method": ("gradcam", "layercam"),
}
PAIRS = ("spacing_range_mm", "image_window_days")  # from, to
SIMPLE = {"int": int, "float": (int, float), "bool": bool, "str": str}
# PyYAML's constructors let their own errors through (0x_, 2026-13-45, a deep nest)
YAML_ERRORS = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
ALLOWED = "int, float, bool, str or list[...] of these, each with or without | None"


class Declared(NamedTuple):
    """A declared parameter: its annotation as written, and its literal default."""

    annotation: str
    default: Any


def parameters_source(notebook: Path) -> str:
    """Return the source of the one code cell tagged `parameters`; ValueError where there is none or more than one."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise FileNotFoundError(f"{notebook}: no such notebook") from None
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{notebook}: not a notebook ({error})") from None
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook}: {len(tagged)} cells tagged `parameters`, exactly one is allowed")
    return "".join(tagged[0]["source"])


def declared_parameters(notebook: Path) -> dict[str, Declared]:
    """Read what a notebook declares, in order.

    Raises ValueError that names the notebook and line where the cell holds anything but `name: type = literal`.
    """
    declared = {}
    for node in ast.parse(parameters_source(notebook)).body:
        where = f"{notebook.name}, parameters cell, line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ValueError(f"{where}: only `name: type = literal` is allowed here, not `{ast.unparse(node)}`")
        name, annotation = node.target.id, ast.unparse(node.annotation)
        if not is_allowed(node.annotation):
            raise ValueError(f"{where}: {name} is annotated {annotation}; allowed are {ALLOWED}")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise ValueError(f"{where}: the default of {name} is no literal: `{ast.unparse(node.value)}`") from None
        if not matches(default, annotation):
            raise ValueError(f"{where}: {explain(name, default, annotation)}")
        declared[name] = Declared(annotation, default)
    return declared


def is_allowed(node: ast.expr) -> bool:
    """Tell whether an annotation is one that YAML can fill."""
    match node:
        case ast.Name(id=name):
            return name in SIMPLE
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return is_allowed(left)
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return is_allowed(item)
    return False


def matches(value: Any, annotation: str) -> bool:
    """Tell whether a value is of an annotated type: int is fine for float, bool is not for int; NaN is no value."""
    return _matches(value, ast.parse(annotation, mode="eval").body)


def _matches(value: Any, node: ast.expr) -> bool:
    match node:
        case ast.BinOp(left=left):
            return value is None or _matches(value, left)
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return isinstance(value, list) and all(_matches(entry, item) for entry in value)
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id=name):
            finite = not isinstance(value, float) or math.isfinite(value)
            return isinstance(value, SIMPLE[name]) and not isinstance(value, bool) and finite
    return False


def require_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise a ValueError that names the parameter (or file and column), its value and what is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is unknown; allowed are {', '.join(allowed)}")


def explain(name: str, value: Any, annotation: str) -> str:
    """Say in one line why a value is refused, and name YAML's two surprises where they are the likely cause."""
    hint = ""
    if isinstance(value, str) and ("float" in annotation or "int" in annotation):
        hint = _hint_for_number(value)
    elif isinstance(value, bool) and "str" in annotation:
        hint = " (YAML reads a bare yes, no, on or off as true or false: quote it)"
    elif not isinstance(value, (str, bool, list, dict, type(None))) and "str" in annotation:
        hint = " (quote it)"
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{name} = {value} is no finite number, allowed is {annotation}"
    return f"{name} = {value!r} is {type(value).__name__}, allowed is {annotation}{hint}"


def _hint_for_number(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    mantissa, _, exponent = text.lower().partition("e")
    if not exponent:
        return f" (drop the quotes: {number:g})"
    sign = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f" (to YAML this is text: write {mantissa if '.' in mantissa else mantissa + '.0'}e{sign})"


def problems_with(values: dict, declared: dict[str, Declared], source: str) -> list[str]:
    """Check values against what a notebook declares; one line a problem, each opening with `source`."""
    problems = []
    for name, value in values.items():
        if name not in declared:
            near = difflib.get_close_matches(str(name), declared, n=1, cutoff=0.0)
            nearest = f"; the nearest is {near[0]}" if near else ""
            problems.append(f"{source}: no parameter is called {name!r} (value {value!r}){nearest}")
        elif not matches(value, declared[name].annotation):
            problems.append(f"{source}: {explain(name, value, declared[name].annotation)}")
        elif name in RANGES and not all(RANGES[name][0] <= number <= RANGES[name][1] for number in listed(value)):
            problems.append(f"{source}: {name} = {value}; allowed is {RANGES[name][0]} to {RANGES[name][1]}")
        elif name in CHOICES and not all(text in CHOICES[name] for text in listed(value)):
            problems.append(f"{source}: {name} = {value!r}; allowed are {', '.join(map(str, CHOICES[name]))}")
        elif "" in listed(value):
            problems.append(f"{source}: {name} = {value!r}; allowed is a text that is not empty")
        elif name in PAIRS and (len(value) != 2 or value[0] > value[1]):
            problems.append(f"{source}: {name} = {value}; allowed are two numbers, the lower one first")
        elif isinstance(value, list) and name in ("classes", "storage_classes") and len(set(value)) != len(value):
            problems.append(f"{source}: {name} = {value}; allowed is each name once")
    return problems


def listed(value: Any) -> list:
    """The values of a parameter, one by one; none for None."""
    return value if isinstance(value, list) else [] if value is None else [value]


def read_parameter_file(path: Path) -> dict[str, Any]:
    """Read a flat YAML file; ValueError in one line for bad YAML, anything but a mapping, or a key written twice."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); allowed is a file") from None
    except YAML_ERRORS as error:
        raise ValueError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds a {type(values).__name__}; only `name: value` lines are allowed")
    keys = [key.value for key, _ in node.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{path}: {', '.join(twice)} stands there twice")
    return values
