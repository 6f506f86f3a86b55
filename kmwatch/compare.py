"""`kmwatch replay --against FILE`: the same records under two configurations, side by side.

How noisy a change would be, before it is enforced: both runs take the production path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from kmwatch.config.load import Loaded
from kmwatch.core.model import Activity, Finding, Mode
from kmwatch.core.rules.catalogue import CATALOGUE
from kmwatch.replay import replay

_SENT, _SHADOW, _SILENCED = "sent", "shadow", "silenced"
_HEADER = ("detection", "", "sent", "shadow", "silenced", "->", "sent", "shadow", "silenced", "gone", "new")


class Told(Struct, frozen=True):
    """What became of one finding."""

    rule: str
    fate: str
    severity: str


class Collector:
    """The findings of a run, by uid; a graver line of one that is known counts."""

    def __init__(self) -> None:
        """Begin with none."""
        self.told: dict[str, Told] = {}

    def take(self, findings: Sequence[Finding]) -> None:
        """Note the lines of a batch."""
        for line in findings:
            if line.activity is not Activity.CLOSE:
                fate = _SILENCED if line.silence else _SENT if line.mode is Mode.ENFORCE else _SHADOW
                self.told[line.uid] = Told(line.rule, fate, line.severity.name.lower())


async def compare(first: Loaded, second: Loaded, paths: Sequence[str]) -> str:
    """Replay the same input under both configurations.

    Returns:
        A table for a person: for each detection the findings of both, and how many are in one of them only.

    Raises:
        SourceError: the input cannot be read.
    """
    runs = []
    for loaded in (first, second):
        collector = Collector()
        await replay(loaded, paths, also=collector.take)
        runs.append(collector.told)
    return table(*runs)


def table(first: Mapping[str, Told], second: Mapping[str, Told]) -> str:
    """Two runs side by side; detections that say nothing in either are left out, and named below."""
    rules = sorted({told.rule for run in (first, second) for told in run.values()})
    lines = [_HEADER]
    for rule in rules:
        gone = sum(told.rule == rule and told.fate == _SENT and not _sent(second, uid) for uid, told in first.items())
        new = sum(told.rule == rule and told.fate == _SENT and not _sent(first, uid) for uid, told in second.items())
        lines.append((rule, _title(rule), *_fates(first, rule), "->", *_fates(second, rule), str(gone), str(new)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    out = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    out.append(f"severity of what is sent: {_severities(first.values())} -> {_severities(second.values())}")
    quiet = [meta.id for meta in CATALOGUE if meta.id not in rules]
    out.append(f"silent in both: {', '.join(quiet)}")
    return "\n".join(out) + "\n"


def _sent(run: Mapping[str, Told], uid: str) -> bool:
    told = run.get(uid)
    return told is not None and told.fate == _SENT


def _fates(run: Mapping[str, Told], rule: str) -> tuple[str, str, str]:
    counts = Counter(told.fate for told in run.values() if told.rule == rule)
    return str(counts[_SENT]), str(counts[_SHADOW]), str(counts[_SILENCED])


def _severities(told: Iterable[Told]) -> str:
    counts = Counter(one.severity for one in told if one.fate == _SENT)
    known = ("critical", "high", "medium", "low", "informational")
    return ", ".join(f"{counts[name]} {name}" for name in known if counts[name]) or "nothing"


def _title(rule: str) -> str:
    return next((meta.title for meta in CATALOGUE if meta.id == rule), "")
