"""The commands of tests/soak/, on little."""

import errno

import pytest
from soak import kill, readers
from soak.faults import Faults, grow, renew

from visret.reduction import Storage

FLOATS = Storage(codec="float32")


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults(tmp_path_factory.mktemp("faults"), FLOATS, "full")


def test_every_step_may_fail_once(faults):
    steps = faults.steps()
    kinds = {what.split()[0] for what in steps}
    assert kinds >= {"open", "write", "fsync", "mkdir", "replace", "sql"}
    begin, end = steps.index("sql BEGIN IMMEDIATE"), len(steps)
    assert begin > 20
    for at in [*range(0, begin - 12, 41), *range(begin - 12, begin + 12, 3), *range(begin + 12, end, 41)]:
        faults.fail(at, errno.ENOSPC if at % 2 else errno.EIO)


def test_every_step_may_fail_while_an_index_is_made(tmp_path):
    made = Faults(tmp_path, FLOATS, "nothing")
    first_commit = made.steps().index("sql BEGIN IMMEDIATE")
    for at in range(1, min(first_commit, 30), 4):  # step 0 makes the folder
        made.fail(at)


def test_the_power_may_go_at_every_step(faults):
    assert faults.cut(every=8) > 40


def test_every_step_of_a_reindex_may_fail_once(tmp_path):
    faults = Faults(tmp_path, FLOATS, "full", renew)
    steps = faults.steps()
    assert steps.count("sql backup") == 6
    switches = [at for at, what in enumerate(steps) if what == "sql backup"]
    for at in sorted({*range(0, len(steps), 160), *range(switches[0] - 2, switches[2] + 8, 9)}):
        faults.fail(at, errno.ENOSPC if at % 2 else errno.EIO)


def test_every_step_may_fail_and_the_power_may_go_while_models_are_added(tmp_path):
    faults = Faults(tmp_path, FLOATS, "full", grow)
    for at in range(0, len(faults.steps()), 37):
        faults.fail(at, errno.ENOSPC if at % 2 else errno.EIO)
    assert faults.cut(every=32) > 60


def test_a_run_may_be_killed_at_any_moment(tmp_path):
    seen = kill.soak(tmp_path, 5, documents=12)
    assert seen["kills"] == 5


def test_readers_see_what_some_commit_left(tmp_path):
    seen = readers.soak(tmp_path, 60, readers=2)
    assert seen["commits"] > 20
    assert seen["answers"] > 0
