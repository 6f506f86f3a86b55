"""What history says of a declared map, entry by entry, at its lines."""

from __future__ import annotations

from collections.abc import Iterator

from kmwatch.config.lint import Remark
from kmwatch.config.maps import MapFile
from kmwatch.config.problems import Problem, listed
from kmwatch.core.learn.pace import LONG_ENOUGH
from kmwatch.core.learn.usage import Usage
from kmwatch.core.model import Mode

_MUCH_WIDER = 10  # times as many as were used


def unused(file: MapFile, usage: Usage) -> list[Problem]:
    """Declared, and not used in this history."""
    return [remark.problem(file) for remark in (*_entries(file, usage), *_callers(file, usage), *_groups(file, usage))]


def wider(file: MapFile, usage: Usage) -> list[Problem]:
    """Used, and wider than its use."""
    remarks = []
    for name, caller in file.callers.items():
        for index, network in enumerate(caller.networks or ()):
            enough = usage.narrower(name, network)
            if enough:
                where = ("callers", name, "networks", index)
                remarks.append(Remark(where, f"{network} is much wider than its use: {listed(enough)} would do"))
    remarks += _rates(file, usage)
    return [remark.problem(file) for remark in remarks]


def _rates(file: MapFile, usage: Usage) -> Iterator[Remark]:
    """Rates that would let through a multiple of what was ever used, in a history that is long enough to say so."""
    if usage.span < LONG_ENOUGH:
        return
    for index, entry in file.allow.items():
        use, rate = usage.entries.get(entry.id), entry.rate
        if rate is not None and use is not None and 0 < use.busiest * _MUCH_WIDER <= rate.limit:
            most = f"never more than {use.busiest} distinct secrets of a user in its time"
            yield Remark(("allow", index, "rate"), f"the rate is much wider than its use: {most}")


def _entries(file: MapFile, usage: Usage) -> Iterator[Remark]:
    for index, entry in file.allow.items():
        use = usage.entries.get(entry.id)
        if entry.mode is Mode.OFF:
            continue  # as if it were not written
        if use is None or use.fits == 0:
            yield Remark(("allow", index), f'"{entry.id}" was never used in this history; ask its owner, or remove it')
            continue
        if use.explains == 0 and "retrieval" in entry.actions:
            yield Remark(("allow", index), f'all that "{entry.id}" allows, earlier entries allow too; remove it')
        for number, caller in enumerate(entry.callers):
            if caller not in use.callers:
                yield Remark(("allow", index, "callers", number), f'"{caller}" never used this entry')
        for number, group in enumerate(entry.secrets if isinstance(entry.secrets, tuple) else ()):
            if group not in use.groups:
                yield Remark(("allow", index, "secrets", number), f'no secret of "{group}" was asked for by this entry')


def _callers(file: MapFile, usage: Usage) -> Iterator[Remark]:
    for name, caller in file.callers.items():
        if name in usage.addresses:
            idle = usage.idle_networks(name, caller.networks or ())
            for index, network in enumerate(caller.networks or ()):
                if network in idle:
                    yield Remark(("callers", name, "networks", index), f"nothing came from {network} in this history")


def _groups(file: MapFile, usage: Usage) -> Iterator[Remark]:
    for name, group in file.groups.items():
        if name in usage.names:
            idle = usage.idle_patterns(name, group.names or ())
            if idle:
                yield Remark(("secrets", name, "names"), f"no secret in use has a name like {listed(idle)}")
