"""Families, architectures and models.yaml say the same: the one table is held to the code and to the entries."""

import importlib

import pytest

from visret.models import registry
from visret.models.architectures import ARCHITECTURES, of

FAMILIES = {family for task in registry.TASKS for family in registry.families(task)}


def test_every_architecture_is_of_a_family():
    for name, row in ARCHITECTURES.items():
        assert row.family in registry.families(row.task), name
    assert {name for family in FAMILIES for name in of(family)} == set(ARCHITECTURES)


def test_every_family_has_entries_and_rows_where_those_name_an_architecture():
    entries = registry.specs()
    assert {spec.family for spec in entries} == FAMILIES
    assert {spec.family for spec in entries if spec.architecture} == {row.family for row in ARCHITECTURES.values()}
    for spec in entries:
        if any(row.library for row in of(spec.family).values()):  # which class loads it, the entry must say
            assert bool(spec.architecture) != spec.remote_code, spec.name


def test_every_entry_is_as_the_table_says():
    for spec in registry.specs():
        if spec.architecture:
            row = ARCHITECTURES[spec.architecture]
            assert (spec.family, spec.modality, spec.task) == (row.family, row.modality, row.task), spec.name
            assert row.options.items() <= spec.options.items(), spec.name
            assert row.dim_key or row.modality == "text" or spec.dim == row.dim, spec.name


def test_every_task_has_families():
    for task in registry.TASKS:
        assert registry.families(task), task


@pytest.mark.heavy
def test_every_architecture_that_is_loaded_by_class_is_in_its_library():
    from visret.encoders import _torch

    for family in registry.families():
        by_class = [name for name, row in of(family).items() if row.library]
        module = importlib.import_module(f"visret.encoders.{family}")
        looks_at_patches = hasattr(module, "_patches")
        assert by_class == (list(of(family)) if looks_at_patches else []), family
    with _torch.quiet():
        for name, row in ARCHITECTURES.items():
            if row.library:
                library = importlib.import_module(row.library)
                assert isinstance(getattr(library, name), type), name
                assert isinstance(getattr(library, row.processor), type), name
