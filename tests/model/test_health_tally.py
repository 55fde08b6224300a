"""Hysteresis of health results."""

from hypothesis import given
from hypothesis import strategies as st

from sup.model.health import Health
from sup.model.health_tally import HealthTally

OK, WARNING, CRITICAL, UNKNOWN = Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN


def verdicts(tally: HealthTally, *results: Health) -> list[Health]:
    """The verdict after each result."""
    return [tally.add(result) for result in results]


def test_tally_by_default_follows_every_result() -> None:
    """With thresholds of one each result is the verdict; a fresh tally knows nothing."""
    tally = HealthTally()
    assert tally.verdict is UNKNOWN
    results = (OK, CRITICAL, WARNING, UNKNOWN, OK)
    assert verdicts(tally, *results) == list(results)


def test_tally_critical_needs_its_results_in_a_row() -> None:
    """A good result in between starts the count anew."""
    tally = HealthTally(failures_before_critical=3)
    results = verdicts(tally, OK, CRITICAL, CRITICAL, OK, CRITICAL, CRITICAL, CRITICAL)
    assert results == [OK, OK, OK, OK, OK, OK, CRITICAL]


def test_tally_ok_needs_its_results_in_a_row() -> None:
    """A service that flaps does not count as recovered."""
    tally = HealthTally(successes_before_passing=2)
    assert verdicts(tally, CRITICAL, OK, CRITICAL, OK, OK) == [
        CRITICAL,
        CRITICAL,
        CRITICAL,
        CRITICAL,
        OK,
    ]


def test_tally_warning_takes_effect_on_an_ok_service_at_once() -> None:
    """A warning is for people; it neither gates nor restarts."""
    tally = HealthTally(failures_before_critical=3, successes_before_passing=2)
    assert verdicts(tally, OK, OK, WARNING, OK, OK) == [UNKNOWN, OK, WARNING, WARNING, OK]


def test_tally_warning_alone_does_not_end_critical() -> None:
    """From critical it takes as many passing results to a warning as ok ones to ok."""
    tally = HealthTally(successes_before_passing=2)
    assert verdicts(tally, CRITICAL, WARNING, OK, OK) == [CRITICAL, CRITICAL, WARNING, OK]


def test_tally_failures_before_warning_warn_first() -> None:
    """The first failures of an ok service show, before the verdict is critical."""
    tally = HealthTally(failures_before_critical=3, failures_before_warning=1)
    assert verdicts(tally, OK, CRITICAL, CRITICAL, CRITICAL) == [OK, WARNING, WARNING, CRITICAL]


def test_tally_critical_and_unknown_in_turns_become_critical() -> None:
    """A check that fails in two ways fails; as many unknown in a row as needed are unknown."""
    tally = HealthTally(failures_before_critical=3)
    results = verdicts(tally, OK, CRITICAL, UNKNOWN, CRITICAL, UNKNOWN, UNKNOWN, UNKNOWN)
    assert results == [OK, OK, OK, CRITICAL, CRITICAL, CRITICAL, UNKNOWN]


def test_tally_ignoring_unknown_keeps_the_verdict_and_the_count() -> None:
    """What could not be asked is no reason to restart, and none to forget what was counted."""
    tally = HealthTally(failures_before_critical=2, ignore_unknown=True)
    results = verdicts(tally, OK, UNKNOWN, CRITICAL, UNKNOWN, UNKNOWN, CRITICAL)
    assert results == [OK, OK, OK, OK, OK, CRITICAL]


RESULTS = st.lists(st.sampled_from(Health), max_size=60)
COUNTS = st.integers(1, 5)


def trailing(history: list[Health], words: tuple[Health, ...]) -> int:
    """How many results at the end of ``history`` are among ``words``."""
    return next((i for i, r in enumerate(reversed(history)) if r not in words), len(history))


@given(RESULTS, COUNTS, COUNTS, st.integers(0, 4))
def test_tally_changes_only_for_what_its_thresholds_say(
    results: list[Health], critical: int, passing: int, warning: int
) -> None:
    """Whatever comes: no verdict without its results in a row, and each with them."""
    tally = HealthTally(critical, passing, warning)
    history: list[Health] = []
    for result in results:
        before = tally.verdict
        history.append(result)
        after = tally.add(result)
        failed = trailing(history, (CRITICAL, UNKNOWN))
        if after is not before:
            enough = {
                OK: trailing(history, (OK,)) >= passing,
                CRITICAL: failed >= critical,
                UNKNOWN: trailing(history, (UNKNOWN,)) >= critical,
                WARNING: before is OK or trailing(history, (OK, WARNING)) >= passing,
            }
            assert enough[after], (before, after, history)
        if trailing(history, (OK,)) >= passing:
            assert after is OK
        if failed >= critical:
            assert after in (CRITICAL, UNKNOWN)
        if trailing(history, (OK, WARNING)) >= passing:
            assert after in (OK, WARNING)


def test_force_sets_the_verdict_and_restarts_the_count() -> None:
    """After the process ended, results of its life do not count for the next."""
    tally = HealthTally(failures_before_critical=2)
    verdicts(tally, OK, CRITICAL)
    tally.force(UNKNOWN)
    assert verdicts(tally, CRITICAL, CRITICAL) == [UNKNOWN, CRITICAL]
