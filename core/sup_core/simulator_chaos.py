"""A random script for the simulator: a menu of faults, some at once, and then peace and agreement.

Each step draws a fault from the menu and the time until the next; faults overlap. At the end all of
them are taken back, the network is calm, and the ring must agree within the bound of a settled
network. What must hold meanwhile is the checks' business (`sup_core.simulator_checks`).
"""

from __future__ import annotations

from collections.abc import Callable

from sup_core.simulator import SEEDS, Simulator
from sup_core.simulator_bounds import form, settle

OWNED = 1
SHARED = 64
NEAR_US = 300
LINKS_MAX = 64
MTU_MIN = 500
CLOCK_JUMP_US = 45_000_000
"""Far above every wait of the detector, and below the lead at which a stamp is refused."""

COUNT = "count "
"""What the measures that are counts begin with: a campaign of any length has each above 0."""


def chaos(sim: Simulator, members: int) -> dict[str, float]:
    """Form a ring, do several random things of the whole menu to it, wait for agreement."""
    far = sim.faults.choice([300, 300, 3_000, 40_000])
    zones = sim.faults.choice([1, 1, 2, 3])
    sim.network.latency_us = far
    for zone in range(zones if far > NEAR_US else 0):
        sim.network.set_zone_latency(zone, zone, NEAR_US)
    return _tumble(sim, members, MENU + RARE, zones)


def tumble(sim: Simulator, members: int) -> dict[str, float]:
    """The same with the common faults alone, in one zone."""
    sim.network.latency_us = sim.faults.choice([300, 300, 300, 3_000, 40_000])
    return _tumble(sim, members, MENU, 1)


def _tumble(
    sim: Simulator, members: int, menu: list[Callable[[Simulator], str]], zones: int
) -> dict[str, float]:
    dice = sim.faults
    calm_loss = sim.network.loss
    calm_duplicate, calm_corrupt = sim.network.duplicate, sim.network.corrupt
    counts = dict.fromkeys(HAPPENINGS, 0.0)
    joined = form(sim, members)
    if zones > 1:
        # After the start: who starts is told nothing of zones either.
        for index in range(sim.size):
            sim.set_zone(index, dice.integer(0, zones - 1))
        counts["zones"] = 1.0
    steps = dice.integer(4, 10)
    for _ in range(steps):
        if len(sim.running()) < 2:
            counts[revive(sim)] += 1
        done = dice.choice(menu)(sim)
        if done:
            counts[done] += 1
        sim.run(dice.integer(10_000, 2_500_000) / 1e6)
    sim.heal()
    for index in range(sim.size):
        sim.slow(index, 0)
    for index in sorted(sim.isolated):
        sim.isolate(index, incoming=0.0, outgoing=0.0)
    for source in range(min(sim.size, LINKS_MAX)):
        for target in range(min(sim.size, LINKS_MAX)):
            if source != target:
                sim.set_link(source, target, True)
                sim.set_link_loss(source, target, 0.0)
    sim.set_network_loss(calm_loss)
    sim.network.burst = 0.0
    sim.network.duplicate = calm_duplicate
    sim.network.corrupt = calm_corrupt
    sim.network.truncate = 0.0
    sim.network.mtu_bytes = 1400
    if dice.happens(0.5):
        for index in range(sim.size):
            if not sim.life(index).running and not sim.life(index).left:
                disk = dice.happens(0.7)
                sim.restart(index, disk=disk)
                counts["restart with disk" if disk else "restart without disk"] += 1
    _lead_back(sim)
    settled = settle(sim)
    counts |= _seen(sim)
    return {"join_s": joined, "settle_s": settled} | {
        COUNT + name: value for name, value in counts.items()
    }


def _lead_back(sim: Simulator) -> None:
    """Start a seed if none runs where it was: members that were never told of each other, or of
    where they moved, have nowhere to meet else, and no protocol could bring them together. If all
    seeds run and have moved, who moved starts again: that looks up where the seeds are now."""
    seeds = [index for index in range(min(SEEDS, sim.size)) if not sim.life(index).left]
    down = [index for index in seeds if not sim.life(index).running]
    met = any(sim.life(index).running and index not in sim.moved for index in seeds)
    if not met and (down or not seeds) and len(sim.running()) > 1:
        index = down[0] if down else 0
        sim.restart(index, disk=bool(seeds))
    elif not met and not down:
        for index in sorted(sim.moved.intersection(sim.running())):
            sim.restart(index)


def _seen(sim: Simulator) -> dict[str, float]:
    """What the run came to: changes that were told, packets that met a fault."""
    totals = sim.totals()
    seen = {f"told {change.value}": float(n) for change, n in sim.changes.items()}
    seen.pop("told forgotten")  # tombstones are kept for longer than a run takes
    for name in ("lost", "unheard", "oversize", "duplicated", "damaged"):
        seen[f"{name} packets"] = float(totals[f"{name}_packets"])
    seen["streams"] = float(totals["streams"])
    seen["failed streams"] = float(totals["stream_failures"])
    nodes = [sim.node_of(index).counters() for index in sim.running()]
    for name in ("refuted", "exchanges", "questions"):
        seen[f"counted {name}"] = float(sum(counters[name] for counters in nodes))
    return seen


def victim(sim: Simulator) -> int:
    """Draw a running member."""
    return sim.faults.choice(sim.running())


def kill(sim: Simulator) -> str:
    """Crash one member, with or without its host."""
    sim.crash(victim(sim), host=sim.faults.happens(0.5))
    return "crash"


def kill_some(sim: Simulator) -> str:
    """Crash up to a tenth at once, of a small ring one."""
    up = sim.running()
    for index in sim.faults.sample(up, max(1, len(up) // 10)):
        sim.crash(index, host=True)
    return "crash of a tenth"


def revive(sim: Simulator) -> str:
    """Restart a crashed member, or one that runs."""
    down = [i for i in range(sim.size) if not sim.life(i).running and not sim.life(i).left]
    index = sim.faults.choice(down or sim.running())
    disk = sim.faults.happens(0.7)
    sim.restart(index, disk=disk)
    return "restart with disk" if disk else "restart without disk"


def freeze(sim: Simulator) -> str:
    """Stop a member for less than the tolerance, or for longer."""
    tolerance = sim.config.pause_tolerance_us
    us = sim.faults.integer(10_000, tolerance * (95 if sim.faults.happens(0.7) else 400) // 100)
    sim.freeze(victim(sim), us / 1e6)
    return "pause below the tolerance" if us < tolerance else "pause above the tolerance"


def deafen(sim: Simulator) -> str:
    """Stop a member's reading for up to six seconds."""
    sim.deafen(victim(sim), sim.faults.integer(100_000, 6_000_000) / 1e6)
    return "stall"


def half_connect(sim: Simulator) -> str:
    """Make a member deaf or mute until the end."""
    deaf = sim.faults.happens(0.5)
    sim.isolate(victim(sim), incoming=float(deaf), outgoing=float(not deaf))
    return "deaf" if deaf else "mute"


def cut_link(sim: Simulator) -> str:
    """Cut one direction between two members; that excuses nobody, others can help."""
    pair = sim.faults.sample([i for i in sim.running() if i < LINKS_MAX], 2)
    if len(pair) < 2:
        return ""
    sim.set_link(pair[0], pair[1], False)
    return "cut link"


def slow_down(sim: Simulator) -> str:
    """Let a member take up to 5 ms per packet until the end."""
    sim.slow(victim(sim), sim.faults.integer(100, 5_000))
    return "slow member"


def part(sim: Simulator) -> str:
    """Part the ring in two or three, or heal it."""
    if sim.faults.happens(0.4):
        parted = _parts(sim) > 1
        sim.heal()
        return "heal" if parted else ""
    indices = sim.faults.sample(list(range(sim.size)), sim.size)
    first = sim.faults.integer(1, max(1, sim.size - 1))
    second = sim.faults.integer(first, sim.size)
    sim.partition([indices[:first], indices[first:second]])
    return "partition" if _parts(sim) > 1 else ""


def _parts(sim: Simulator) -> int:
    return len({sim.excuses.group(index) for index in sim.running()})


def weather(sim: Simulator) -> str:
    """Change the network's loss, uniform or bursty."""
    if sim.faults.happens(0.3):
        sim.set_network_loss(sim.faults.integer(0, 30) / 100)
    else:
        sim.set_network_loss(sim.faults.integer(0, 5) / 100)
    sim.network.burst = sim.faults.integer(0, 2) / 1000
    return "bursts" if sim.network.burst else "loss"


def say(sim: Simulator) -> str:
    """Publish something, small or large, owned or shared."""
    kind = OWNED if sim.faults.happens(0.5) else SHARED
    size = sim.faults.integer(0, 400) if sim.faults.happens(0.8) else 20_000
    key = b"key%d" % sim.faults.integer(0, 5)
    sim.publish(victim(sim), kind, key, bytes(size) + b"%d" % sim.now_us)
    return "rumor"


def unsay(sim: Simulator) -> str:
    """Retract something, known or not."""
    kind = OWNED if sim.faults.happens(0.5) else SHARED
    sim.retract(victim(sim), kind, b"key%d" % sim.faults.integer(0, 5))
    return "retraction"


def depart(sim: Simulator) -> str:
    """Let a member leave, unless the ring is down to three."""
    if len(sim.running()) <= 3:
        return ""
    sim.leave(victim(sim))
    return "departure"


def arrive(sim: Simulator) -> str:
    """Add a member."""
    sim.add(1)
    return "arrival"


def relocate(sim: Simulator) -> str:
    """Change a member's address."""
    sim.move(victim(sim))
    return "move"


def sleep(sim: Simulator) -> str:
    """Suspend a member: it stands still, and its clock goes on, or jumps without a stop."""
    index = victim(sim)
    us = sim.faults.integer(10_000, CLOCK_JUMP_US)
    if sim.faults.happens(0.5):
        sim.freeze(index, min(us, 3 * sim.config.pause_tolerance_us) / 1e6)
    sim.jump(index, us)
    return "clock jump"


def wear_link(sim: Simulator) -> str:
    """Lose some of what goes one way between two members; that excuses nobody either."""
    pair = sim.faults.sample([i for i in sim.running() if i < LINKS_MAX], 2)
    if len(pair) < 2:
        return ""
    sim.set_link_loss(pair[0], pair[1], sim.faults.integer(5, 95) / 100)
    return "lossy link"


def narrow(sim: Simulator) -> str:
    """Lose all packets above a size until the end: a tunnel that tells nobody."""
    sim.network.mtu_bytes = sim.faults.integer(MTU_MIN, 1399)
    return "narrow path"


def damage(sim: Simulator) -> str:
    """Damage and cut off packets; a checksum finds them all, for unsealed ones bear no other."""
    sim.network.corrupt = sim.faults.integer(1, 10) / 1000
    sim.network.truncate = sim.faults.integer(1, 10) / 1000
    return "damage"


def echo(sim: Simulator) -> str:
    """Deliver many packets twice, at times of their own: late and out of order."""
    sim.network.duplicate = sim.faults.integer(5, 50) / 100
    return "duplication"


MENU: list[Callable[[Simulator], str]] = [
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

RARE: list[Callable[[Simulator], str]] = [sleep, wear_link, narrow, damage, echo]

HAPPENINGS = (
    *("crash", "crash of a tenth", "restart with disk", "restart without disk"),
    *("pause below the tolerance", "pause above the tolerance", "stall", "deaf", "mute"),
    *("cut link", "lossy link", "slow member", "partition", "heal", "loss", "bursts"),
    *("rumor", "retraction", "departure", "arrival", "move", "clock jump", "narrow path"),
    *("damage", "duplication", "zones"),
)
"""What the menus can do to a ring; a campaign must have done all of it."""
