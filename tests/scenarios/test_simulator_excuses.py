"""Who may be declared dead although it runs: the excuses, and the rules that the tight ones found.

Each rule of the core that a random campaign showed to be wrong has its seed here.
"""

from __future__ import annotations

import pytest

from sup_core.config import Config
from sup_core.events import MemberEvent, MemberState
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form
from sup_core.simulator_excuses import FOREVER_US, Excuses, grace_us
from sup_core.simulator_network import Network
from sup_core.simulator_scenarios import run_scenario

TOLERANCE = Config().pause_tolerance_us
GRACE = 1_000


def excuses() -> Excuses:
    """Excuses with a round grace."""
    return Excuses(Config(), lambda: GRACE)


def test_silence_of_the_tolerance_is_excused_and_a_shorter_one_is_not() -> None:
    """At its exact value."""
    assert excuses().silence(0, 5, 5 + TOLERANCE - 1) == 0
    assert excuses().silence(0, 5, 5 + TOLERANCE) == 5 + TOLERANCE + GRACE


def test_silences_that_touch_are_one() -> None:
    """A pause that begins before the last one ends continues it, and so does one that begins before
    a silent member is asked again; a later one does not."""
    unasked = Config().second_look_us // 3 + Config().rto_min_us
    long = excuses()
    assert long.silence(0, 0, TOLERANCE - 1) == 0
    assert long.silence(0, TOLERANCE - 1, TOLERANCE + 9) == TOLERANCE + 9 + GRACE
    apart = excuses()
    assert apart.silence(0, 0, TOLERANCE - 1) == 0
    later = TOLERANCE - 1 + unasked
    assert apart.silence(0, later + 1, later + TOLERANCE) == 0
    close = excuses()
    assert close.silence(0, 0, TOLERANCE - 1) == 0
    assert close.silence(0, later, later + 1) == later + 1 + GRACE


def test_partition_excuses_at_everybody_only_if_it_lasted() -> None:
    """What the other side tells after a heal is excused; of a short split there is nothing."""
    for lasted, excused in ((TOLERANCE - 1, {}), (TOLERANCE, {0: TOLERANCE + GRACE})):
        some = excuses()
        assert some.split([1, 0], [0, 1], 0) == {}
        found = some.split([0, 0], [0, 1], lasted)
        assert {host: until for host, until in found.items() if host == 0} == excused


def test_isolation_has_no_end_until_it_is_taken_back() -> None:
    """A deaf or mute member is silent as long as it is one."""
    some = excuses()
    some.isolate(3, 0)
    assert some.silent(3, FOREVER_US)
    assert some.hear(3, TOLERANCE) == TOLERANCE + GRACE
    assert not some.silent(3, TOLERANCE + 1)


def test_address_that_changes_while_mute_prolongs_the_silence() -> None:
    """The news of the address was lost with everything else."""
    some = excuses()
    some.isolate(3, 0)
    assert some.move(3, 10) == 0
    assert some.hear(3, TOLERANCE - 1) > TOLERANCE


def test_viewer_that_reads_again_may_tell_what_was_true_when_it_stopped() -> None:
    """Its socket hands over old news first."""
    some = excuses()
    some.silence(1, 100, 900)
    assert some.knew(1, 950) == 100
    assert some.knew(1, 50_000_000) == 50_000_000
    assert some.knew(2, 950) == 950


@pytest.mark.parametrize("members", [3, 16, 1000])
def test_grace_is_far_below_the_thirty_seconds_of_a_blanket(members: int) -> None:
    """A few time-outs and one spread."""
    assert grace_us(Config(), Network(), members) < 6_000_000


def test_start_and_restart_excuse_nobody() -> None:
    """Members are judged from their first moment on."""
    sim = Simulator(seed=3)
    form(sim, 5)
    sim.restart(2)
    assert all(life.excused_until == 0 for life in sim.lives())


@pytest.mark.parametrize(("members", "seed"), [(14, 1115), (8, 1133)])
def test_member_that_moved_while_mute_is_asked_for_its_card(members: int, seed: int) -> None:
    """It was heard from an unknown address and probed at the old one until it was dead."""
    assert run_scenario("tumble", seed=seed, members=members).measures


def test_member_that_moved_and_asks_others_for_help_is_asked_for_its_card() -> None:
    """Its probes went to those that were gone, its questions about them to who knew its old
    address."""
    assert run_scenario("chaos", seed=40559, members=4).measures


def test_verdict_of_who_was_alone_is_no_news_to_who_returns() -> None:
    """A queue that had nobody to be told to was told to the first that came back."""
    assert run_scenario("tumble", seed=339, members=3).measures


def test_check_begun_before_a_restart_does_not_kill_the_new_start() -> None:
    """A last check of the old epoch ended 80 ms after a suspicion of the new one."""
    assert run_scenario("tumble", seed=2816, members=9).measures


@pytest.mark.parametrize(("members", "seed"), [(5, 124), (12, 2686)])
def test_new_card_of_who_is_held_dead_is_no_news(members: int, seed: int) -> None:
    """It moved while it was parted; the other side told its old verdict with the new card."""
    assert run_scenario("tumble", seed=seed, members=members).measures


def test_check_with_nobody_to_ask_is_repeated_when_somebody_is_there() -> None:
    """Who was alone when it asked learnt of a helper before the check ended."""
    assert run_scenario("tumble", seed=862, members=4).measures


def test_path_that_grew_longer_than_the_time_out_is_measured_again() -> None:
    """The only helper was 40 ms away at a time-out of 20 ms: no answer was ever in time, and no
    sample was taken of those that came."""
    assert run_scenario("chaos", seed=899, members=3).measures


def test_clock_that_jumps_does_not_use_up_a_suspect_s_time() -> None:
    """A bystander waited for nine seconds in no time and checked at once."""
    assert run_scenario("chaos", seed=3627, members=11).measures


@pytest.mark.parametrize(("members", "seed"), [(7, 22798), (4, 32113), (4, 33491)])
def test_deaf_member_that_suspects_all_still_asks_them(members: int, seed: int) -> None:
    """With nobody unsuspected left to ask, it took its own deafness for the death of all."""
    assert run_scenario("chaos", seed=seed, members=members).measures


def test_member_that_was_alone_does_not_bury_who_it_can_not_hear() -> None:
    """It suspected all, buried all, moved, and was looked for at its old address after the heal."""
    assert run_scenario("chaos", seed=20299, members=4).measures


@pytest.mark.parametrize(("members", "seed"), [(4, 21946), (3, 22891), (3, 31430), (3, 33920)])
def test_pair_that_hears_each_other_again_ends_its_checks_first(members: int, seed: int) -> None:
    """The last check was asked while a link was cut, and ended 20 to 250 ms after it was mended."""
    assert run_scenario("chaos", seed=seed, members=members).measures


def test_member_that_all_links_to_are_cut_is_deaf() -> None:
    """The two that run beside it have each lost their link to it, so neither can help the other."""
    assert run_scenario("chaos", seed=45447, members=4).measures
    some = excuses()
    assert some.third(0, 1, [0, 1, 2], 0)
    some.link(2, 1, 5, 1.0)
    assert not some.third(0, 1, [0, 1, 2], 0)
    assert some.third(0, 1, [0, 1, 2, 3], 0)
    some.link(2, 1, 6, 0.0)
    assert some.third(0, 1, [0, 1, 2], 7)
    some.link(2, 1, 7, 1.0)
    some.link(2, 1, 7 + TOLERANCE, 0.0)
    assert not some.third(0, 1, [0, 1, 2], 7 + TOLERANCE)
    assert some.third(0, 1, [0, 1, 2], 7 + TOLERANCE + GRACE)


def test_link_that_was_cut_excuses_the_pair_for_a_grace_only() -> None:
    """And only if the cut lasted for the tolerance; a second cut of a cut link begins nothing."""
    for lasted, after in ((TOLERANCE - 1, False), (TOLERANCE, True)):
        some = excuses()
        some.link(1, 0, 5, 1.0)
        some.link(1, 0, 6, 1.0)
        assert some.unheard(0, 1, 7)
        assert some.unheard(1, 0, 7)
        assert not some.unheard(0, 2, 7)
        some.link(1, 0, 5 + lasted, 0.0)
        assert some.unheard(0, 1, 5 + lasted) is after
        assert some.unheard(0, 1, 5 + lasted + GRACE - 1) is after
        assert not some.unheard(0, 1, 5 + lasted + GRACE)


def test_viewer_that_was_deaf_for_long_is_excused_for_a_grace() -> None:
    """Its last check was asked while it did not hear; after a short deafness there is none."""
    for lasted, after in ((TOLERANCE - 1, False), (TOLERANCE, True)):
        some = excuses()
        some.isolate(0, 5)
        assert some.unheard(0, 1, FOREVER_US)
        some.hear(0, 5 + lasted)
        assert some.unheard(0, 1, 5 + lasted + GRACE - 1) is after
        assert not some.unheard(0, 1, 5 + lasted + GRACE)


@pytest.mark.parametrize(("members", "seed"), [(4, 20075), (5, 23952), (4, 44315)])
def test_who_took_the_place_of_a_member_is_greeted_by_who_pings_that(
    members: int, seed: int
) -> None:
    """It was restarted without disk: its request for a card bore none of its own, and was
    dropped."""
    assert run_scenario("chaos", seed=seed, members=members).measures


def test_leaver_that_is_accused_is_not_shown_alive_at_a_larger_incarnation() -> None:
    """It refuted its death while it left: who heard the number first showed it alive again."""
    assert run_scenario("chaos", seed=23043, members=14).measures


def test_seeds_that_all_moved_while_parted_are_led_back() -> None:
    """The third had crashed: neither could know where the other is, whatever the protocol."""
    assert run_scenario("chaos", seed=48276, members=3).measures


def test_seeds_that_all_run_and_have_all_moved_are_led_back() -> None:
    """Each while it was parted from the others: none could know where another one is."""
    assert run_scenario("chaos", seed=116989, members=3).measures


@pytest.mark.parametrize(("members", "seed"), [(11, 108313), (5, 307921)])
def test_accuser_with_a_broken_link_asks_through_others_all_the_time(
    members: int, seed: int
) -> None:
    """It had asked them only before the second look and in the last check: two short silences with
    a second and more between them were one to it."""
    assert run_scenario("chaos", seed=seed, members=members).measures


def test_deaf_member_asks_its_suspects_before_it_accuses_the_last_other() -> None:
    """With nobody alive to ask it accused without anybody's answer."""
    assert run_scenario("chaos", seed=205539, members=4).measures


def test_helper_that_was_just_restarted_asks_before_it_says_that_nobody_answers() -> None:
    """It knew the suspect from its disk only, and its nack at once decided the last check."""
    assert run_scenario("chaos", seed=211335, members=5).measures


def test_member_known_from_disk_is_asked_once_more_when_it_is_said_to_be_dead() -> None:
    """The teller had a disk that was older still; a split of a second kept the first question."""
    assert run_scenario("chaos", seed=202377, members=4).measures


@pytest.mark.parametrize(
    ("members", "seed"), [(9, 330241), (13, 346840), (10, 207411), (10, 116768)]
)
def test_backlog_of_who_stood_still_or_was_deaf_buries_nobody(members: int, seed: int) -> None:
    """It read, believed and told verdicts that had been refuted meanwhile, or told its own."""
    assert run_scenario("chaos", seed=seed, members=members).measures


def test_step_in_which_a_clock_jumped_is_not_the_suspects() -> None:
    """It was declared dead 1.8 s after a split of less than two had begun."""
    assert run_scenario("chaos", seed=217779, members=16).measures


def test_new_address_ends_a_check_at_the_old_one() -> None:
    """The card came 6 ms before the last check was over."""
    assert run_scenario("chaos", seed=363906, members=3).measures


@pytest.mark.parametrize(("members", "seed"), [(7, 200502), (8, 346170), (15, 358307)])
def test_newcomer_that_is_told_of_a_death_has_declared_nobody(members: int, seed: int) -> None:
    """It took the tombstone of a member that it never knew, from an old disk or from beyond a split
    that had just healed."""
    assert run_scenario("chaos", seed=seed, members=members).measures


@pytest.mark.parametrize(("members", "seed"), [(8, 219821), (8, 313059)])
def test_bad_spell_of_the_network_is_a_silence(members: int, seed: int) -> None:
    """A spell of half a second, then a pause of 1.8 s: more than the tolerance."""
    assert run_scenario("chaos", seed=seed, members=members).measures
    some = excuses()
    assert some.spell(0, 5, 5 + TOLERANCE - 1) == 0
    assert some.spell(0, 5, 5 + TOLERANCE) == 5 + TOLERANCE + GRACE
    assert some.knew(0, 50) == 50


def test_pair_that_cannot_tell_each_other_where_they_are_is_excused() -> None:
    """One moved while it was parted and held the other, the only one, dead."""
    assert run_scenario("chaos", seed=396234, members=3).measures


def test_helper_whose_links_were_broken_until_now_could_not_help() -> None:
    """Its link lost 73 % until 30 ms before."""
    assert run_scenario("chaos", seed=117151, members=3).measures


@pytest.mark.parametrize("left", [False, True])
def test_member_that_stood_still_past_the_floor_shows_its_ghosts_to_nobody(left: bool) -> None:
    """All others have forgotten who crashed or left meanwhile; it asks, and gives the ghost up."""
    sim = Simulator(seed=5, config=Config(tombstone_floor_us=60_000_000))
    form(sim, 8)
    sim.freeze(2, 200.0)
    sim.run(5.0)
    if left:
        sim.leave(6)
    else:
        sim.crash(6, host=True)
    sim.run(190.0)
    assert "m6" not in sim.view(0)
    shown: list[int] = []
    ghost = sim.life(6).id
    sim.watch(
        lambda viewer, event: (
            shown.append(viewer)
            if isinstance(event, MemberEvent)
            and event.member.id == ghost
            and event.member.state is MemberState.ALIVE
            else None
        )
    )
    sim.run(30.0)
    assert sim.converged()
    assert sim.view(2).get("m6") is not MemberState.ALIVE
    sim.run(120.0)
    assert shown == []
    assert all("m6" not in sim.view(index) for index in sim.running())
