"""A random script for the simulator: a menu of faults, some at once, and then peace and agreement.

Each step draws a fault from the menu and the time until the next; faults overlap. At the end all of
them are taken back, the network is calm, and the ring must agree within the bound of a settled
network. What must hold meanwhile is the checks' business (`sup_core.simulator_checks`).
"""

from __future__ import annotations

from collections.abc import Callable

from sup_core.simulator import FOREVER_US, Simulator
from sup_core.simulator_bounds import form, settle

OWNED = 1
SHARED = 64


def chaos(sim: Simulator, members: int) -> dict[str, float]:
    """Form a ring, do several random things to it, take them back, wait for agreement."""
    dice = sim.faults
    calm_loss = sim.network.loss
    sim.network.latency_us = dice.choice([300, 300, 300, 3_000, 40_000])
    joined = form(sim, members)
    steps = dice.integer(4, 10)
    for _ in range(steps):
        if len(sim.running()) < 2:
            revive(sim)
        dice.choice(MENU)(sim)
        sim.run(dice.integer(10_000, 2_500_000) / 1e6)
    sim.heal()
    for index in range(sim.size):
        sim.slow(index, 0)
    for index in sorted(sim.isolated):
        sim.isolate(index, incoming=0.0, outgoing=0.0)
    for source in range(min(sim.size, 64)):
        for target in range(min(sim.size, 64)):
            if source != target:
                sim.set_link(source, target, True)
    sim.set_network_loss(calm_loss)
    sim.network.burst = 0.0
    if dice.happens(0.5):
        for index in range(sim.size):
            if not sim.life(index).running and not sim.life(index).left:
                sim.restart(index, disk=dice.happens(0.7))
    return {"join_s": joined, "settle_s": settle(sim), "deaths": float(len(sim.deaths))}


def victim(sim: Simulator) -> int:
    """Draw a running member."""
    return sim.faults.choice(sim.running())


def kill(sim: Simulator) -> None:
    """Crash one member, with or without its host."""
    sim.crash(victim(sim), host=sim.faults.happens(0.5))


def kill_some(sim: Simulator) -> None:
    """Crash up to a tenth at once, of a small ring one."""
    up = sim.running()
    for index in sim.faults.sample(up, max(1, len(up) // 10)):
        sim.crash(index, host=True)


def revive(sim: Simulator) -> None:
    """Restart a crashed member, or one that runs."""
    down = [i for i in range(sim.size) if not sim.life(i).running and not sim.life(i).left]
    sim.restart(sim.faults.choice(down or sim.running()), disk=sim.faults.happens(0.7))


def freeze(sim: Simulator) -> None:
    """Stop a member for less than the tolerance, or for longer."""
    tolerance = sim.config.pause_tolerance_us
    us = sim.faults.integer(10_000, tolerance * (95 if sim.faults.happens(0.7) else 400) // 100)
    sim.freeze(victim(sim), us / 1e6)


def deafen(sim: Simulator) -> None:
    """Stop a member's reading for up to six seconds."""
    sim.deafen(victim(sim), sim.faults.integer(100_000, 6_000_000) / 1e6)


def half_connect(sim: Simulator) -> None:
    """Make a member deaf or mute until the end."""
    deaf = sim.faults.happens(0.5)
    sim.isolate(victim(sim), incoming=float(deaf), outgoing=float(not deaf))


def cut_link(sim: Simulator) -> None:
    """Cut one direction between two members; that excuses nobody, others can help."""
    pair = sim.faults.sample([i for i in sim.running() if i < 64], 2)
    if len(pair) == 2:
        if len(sim.running()) < 4:
            for index in pair:
                sim.excuse(index, FOREVER_US / 2e6)
        sim.set_link(pair[0], pair[1], False)


def slow_down(sim: Simulator) -> None:
    """Let a member take up to 5 ms per packet until the end."""
    sim.slow(victim(sim), sim.faults.integer(100, 5_000))


def part(sim: Simulator) -> None:
    """Part the ring in two or three, or heal it."""
    if sim.faults.happens(0.4):
        sim.heal()
        return
    indices = sim.faults.sample(list(range(sim.size)), sim.size)
    first = sim.faults.integer(1, max(1, sim.size - 1))
    second = sim.faults.integer(first, sim.size)
    sim.partition([indices[:first], indices[first:second]])


def weather(sim: Simulator) -> None:
    """Change the network's loss, uniform or bursty."""
    if sim.faults.happens(0.3):
        sim.set_network_loss(sim.faults.integer(0, 30) / 100)
    else:
        sim.set_network_loss(sim.faults.integer(0, 5) / 100)
    sim.network.burst = sim.faults.integer(0, 2) / 1000


def say(sim: Simulator) -> None:
    """Publish something, small or large, owned or shared."""
    kind = OWNED if sim.faults.happens(0.5) else SHARED
    size = sim.faults.integer(0, 400) if sim.faults.happens(0.8) else 20_000
    key = b"key%d" % sim.faults.integer(0, 5)
    sim.publish(victim(sim), kind, key, bytes(size) + b"%d" % sim.now_us)


def unsay(sim: Simulator) -> None:
    """Retract something, known or not."""
    kind = OWNED if sim.faults.happens(0.5) else SHARED
    sim.retract(victim(sim), kind, b"key%d" % sim.faults.integer(0, 5))


def depart(sim: Simulator) -> None:
    """Let a member leave, unless the ring is down to three."""
    if len(sim.running()) > 3:
        sim.leave(victim(sim))


def arrive(sim: Simulator) -> None:
    """Add a member."""
    sim.add(1)


def relocate(sim: Simulator) -> None:
    """Change a member's address."""
    index = victim(sim)
    sim.excuse(index)
    sim.move(index)


MENU: list[Callable[[Simulator], None]] = [
    kill,
    kill,
    kill_some,
    revive,
    revive,
    freeze,
    freeze,
    deafen,
    half_connect,
    cut_link,
    slow_down,
    part,
    part,
    weather,
    say,
    say,
    unsay,
    depart,
    arrive,
    relocate,
]
