"""Which rows make a step's batch: epochs within the stages of the reference schedule."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.train.sampler import batch_indices, stage_rows, stage_span, step_rows
from losses.schedule import ReferenceSchedule
from tests.bench.conftest import tiny_spec

DIFFICULTY = st.lists(st.floats(allow_nan=False) | st.integers(0, 2).map(float), min_size=1, max_size=40)


@given(difficulty=DIFFICULTY, seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 8), data=st.data())
def test_batches_stay_in_the_stage_that_the_reference_schedule_is_in(difficulty, seed, batch, data):
    stages = data.draw(st.integers(1, min(5, len(difficulty))))
    steps = stages + data.draw(st.integers(0, 20))
    schedule, spec = ReferenceSchedule(stages=stages), tiny_spec("dpo", steps=steps, batch=batch, seed=seed)
    members, seen = stage_rows(difficulty, stages), [Counter() for _ in range(stages)]
    units = [(row,) for row in range(len(difficulty))]
    for step in range(steps):
        picked = [units[row][0] for row in step_rows(members, schedule, spec=spec, step=step)]
        stage, first, length = stage_span(schedule, step, steps)
        assert stage == schedule.stage_of(step + 1, steps)
        assert first <= step < first + length
        assert len(picked) == batch
        assert set(picked) <= set(members[stage])
        seen[stage].update(picked)
    # Within a stage rows come in epochs: none is a second time ahead of another one.
    for stage, counts in enumerate(seen):
        times = [counts[row] for row in members[stage]]
        assert max(times) - min(times) <= 1


def test_one_stage_draws_from_the_plain_order():
    spec = tiny_spec("dpo", steps=4, batch=3, seed=1)
    units = [(row,) for row in range(7)]
    found = [step_rows([range(7)], ReferenceSchedule(), spec=spec, step=step) for step in range(4)]
    assert [[units[row][0] for row in batch] for batch in found] == [
        batch_indices(rows=7, batch=3, step=step, seed=1) for step in range(4)
    ]
