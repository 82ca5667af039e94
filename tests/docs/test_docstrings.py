"""Every public name says what it takes and returns, and shows it in an example that runs."""

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc, NumpyDocString

import skanomaly

MODULES = ["skanomaly"] + [
    f"skanomaly.{module.name}"
    for module in pkgutil.iter_modules(skanomaly.__path__)
    if module.ispkg and not module.name.startswith("_")
]


def public_objects() -> dict[str, Any]:
    """Classes and functions by name; constants cannot carry a docstring."""
    named = {
        f"{module}.{name}": getattr(importlib.import_module(module), name)
        for module in MODULES
        for name in importlib.import_module(module).__all__
    }
    return {name: thing for name, thing in named.items() if callable(thing)}


def own_methods(cls: type) -> dict[str, Any]:
    """Public methods that this library wrote, inherited ones too."""
    return {
        name: method
        for name, method in inspect.getmembers(cls, callable)
        if not name.startswith("_")
        and (getattr(method, "__module__", None) or "").startswith("skanomaly")
    }


def parameters(thing: Any) -> set[str]:
    # Exceptions that only inherit a constructor have no signature.
    try:
        return set(inspect.signature(thing).parameters) - {"self"}
    except ValueError:
        return set()


def documented(docs: NumpyDocString, *sections: str) -> set[str]:
    names = (entry.name for section in sections for entry in docs[section])
    return {name.strip().lstrip("*") for listed in names for name in listed.split(",")}


def returns_nothing(function: Any) -> bool:
    return inspect.signature(function).return_annotation in (None, "None")


def complaints_about_function(function: Any) -> list[str]:
    docs = FunctionDoc(function)
    complaints = [] if docs["Summary"] else ["no summary"]
    if missing := parameters(function) - documented(docs, "Parameters"):
        complaints.append(f"parameters without a word: {sorted(missing)}")
    if not returns_nothing(function) and not (docs["Returns"] or docs["Yields"]):
        complaints.append("no section Returns")
    return complaints


def complaints_about_class(cls: type) -> list[str]:
    docs = ClassDoc(cls)
    complaints = [] if docs["Summary"] else ["no summary"]
    # The fields of a result are its attributes.
    if missing := parameters(cls) - documented(docs, "Parameters", "Attributes"):
        complaints.append(f"parameters without a word: {sorted(missing)}")
    for name, method in own_methods(cls).items():
        complaints += [f"{name}: {complaint}" for complaint in complaints_about_function(method)]
    return complaints


@pytest.mark.parametrize("name", public_objects())
def test_public_name_is_documented_with_an_example(name: str) -> None:
    thing = public_objects()[name]
    is_class = inspect.isclass(thing)
    complaints = complaints_about_class(thing) if is_class else complaints_about_function(thing)
    # That they pass is seen where pytest runs them.
    examples = "\n".join((ClassDoc if is_class else FunctionDoc)(thing)["Examples"])
    if not doctest.DocTestParser().get_examples(examples):
        complaints.append("no example")
    assert complaints == []


def test_examples_are_run() -> None:
    """The examples of this package are among what pytest collects by default."""
    import tomllib
    from pathlib import Path

    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    options = settings["tool"]["pytest"]["ini_options"]
    assert "skanomaly" in options["testpaths"]
    assert "--doctest-modules" in options["addopts"]
