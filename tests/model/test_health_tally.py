"""Hysteresis of health results."""

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


def test_tally_warning_and_unknown_take_effect_at_once() -> None:
    """Thresholds are for the two verdicts that others act on."""
    tally = HealthTally(failures_before_critical=3, successes_before_passing=3)
    assert verdicts(tally, WARNING, UNKNOWN, WARNING) == [WARNING, UNKNOWN, WARNING]


def test_force_sets_the_verdict_and_restarts_the_count() -> None:
    """After the process ended, results of its life do not count for the next."""
    tally = HealthTally(failures_before_critical=2)
    verdicts(tally, OK, CRITICAL)
    tally.force(UNKNOWN)
    assert verdicts(tally, CRITICAL, CRITICAL) == [UNKNOWN, CRITICAL]
