"""What a run goes by, as names and digests: the caller map, the detections, the silences."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from kmwatch.core.callermap import CallerMap
from kmwatch.core.rules.base import Settings
from kmwatch.core.silence import Silence


def declared(
    caller_map: CallerMap, detections: Mapping[str, Settings], silences: tuple[Silence, ...] = ()
) -> dict[str, str]:
    """A digest by name, such as "allow/octavia-lb"; what a change of one of them changes is that one."""
    out = {f"callers/{entry.name}": _digest(entry) for entry in caller_map.callers}
    out |= {f"secrets/{group.name}": _digest(group) for group in caller_map.groups}
    out |= {f"allow/{entry.id}": _digest(entry) for entry in caller_map.allow}
    out |= {f"decoys/{decoy.label}": _digest(decoy) for decoy in caller_map.decoys}
    out |= {f"detections/{rule}": _digest(settings) for rule, settings in detections.items()}
    return out | {f"silences/{silence.id}": silence.digest for silence in silences}


def _digest(value: object) -> str:
    return blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=16).hexdigest()
