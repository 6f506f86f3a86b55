"""Who acts, as a person would list them: services that work for their users, and users at their own places."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable

from msgspec import Struct

from kmwatch.core.learn.family import pattern
from kmwatch.core.learn.history import BURSTS, Act, History, Times, Who
from kmwatch.core.learn.place import clusters, segment_of
from kmwatch.core.model import Kind

_TENANTS = 2  # users whose tokens come from one address before it counts as a service's
_GENERIC = re.compile(
    r"(?i)(curl|wget|python|openstack|keystoneauth|terraform|gophercloud|go-|java|okhttp|mozilla|ruby|php|perl|node"
    r"|axios|ansible|driver|-)"
)
_STEM = re.compile(r"([A-Za-z][A-Za-z0-9]{1,31})[A-Za-z0-9_.-]{0,64}(?=[/ ]|\Z)")

Family = tuple[str | None, str | None]  # pattern of names, type of secret
Listed = list[tuple[Act, Times]]


class Cluster(Struct):
    """Acts of one caller. `who` is None for a service that presents its users' own tokens."""

    name: str
    who: Who | None
    acts: Listed
    claimed: bool = False  # it is called what its user agent claims to be


def family(history: History, act: Act) -> Family:
    """The family of the secret of an act."""
    secret = history.secret(act.secret_id)
    return (None, None) if secret is None else (pattern(secret.name), secret.type)


def is_own(history: History, act: Act) -> bool:
    """Whether the caller created the secret, by the inventory."""
    secret = history.secret(act.secret_id)
    return secret is not None and secret.creator_id is not None and secret.creator_id == act.who.user_id


def services(history: History, reads: Listed) -> list[Cluster]:
    """Reads of creators' own secrets that come from where several creators' tokens come from.

    Only the address tells such a service from its user. Addresses of its segment belong to it too if the same agent
    reads the same kind of secret there.
    """
    by_kind: dict[tuple[Family, str | None], Listed] = {}
    for act, times in reads:
        if is_own(history, act):
            by_kind.setdefault((family(history, act), _stem(times.agents)), []).append((act, times))
    found: dict[str | None, Listed] = {}
    for (_, stem), listed in by_kind.items():
        users: dict[str | None, set[str | None]] = {}
        for act, _ in listed:
            users.setdefault(act.address, set()).add(act.who.user_id)
        shared = {address for address, seen in users.items() if len(seen) >= _TENANTS and address is not None}
        around = {segment_of(address) for address in shared} - {None}
        joined = [
            pair for pair in listed if pair[0].address in shared or (stem and segment_of(pair[0].address) in around)
        ]
        if shared:
            found.setdefault(stem, []).extend(joined)
    return [Cluster(stem or "several-users", None, listed, claimed=True) for stem, listed in found.items()]


def served(history: History, reads: Listed) -> Callable[[Act, Times], bool]:
    """Tells what a service does for one more user: as these reads show it to do for others, from the same address.

    A user whom a service serves now and then is there briefly, as a stolen credential would be; but it alone is not
    what makes the address a service's.
    """
    known = {
        (act.address, family(history, act), _stem(times.agents))
        for cluster in services(history, [pair for pair in reads if not pair[1].doubts])
        for act, times in cluster.acts
    }

    def holds(act: Act, times: Times) -> bool:
        stem = _stem(times.agents)
        return stem is not None and is_own(history, act) and (act.address, family(history, act), stem) in known

    return holds


def people(history: History, reads: Listed) -> list[Cluster]:
    """Users, service users among them, each with the addresses from which it reads the same kinds of secrets."""
    by_who: dict[Who, Listed] = {}
    for act, times in reads:
        by_who.setdefault(act.who, []).append((act, times))
    found = []
    for who, listed in by_who.items():
        at: dict[str | None, Listed] = {}
        for pair in listed:
            at.setdefault(pair[0].address, []).append(pair)
        items = {
            address: {(is_own(history, act), family(history, act)) for act, _ in acts} for address, acts in at.items()
        }
        for addresses in clusters(items):
            acts = [pair for address in addresses for pair in at[address]]
            found.append(Cluster(_name_of(history, who), who, acts))
    return found


def adopt(callers: Iterable[Cluster], acts: Listed, history: History) -> list[tuple[Cluster, Listed]]:
    """Share acts other than reads out among callers: to whom the address belongs, else to a caller of their own."""
    shared: list[tuple[Cluster, Listed]] = []
    left = list(acts)
    for caller in callers:
        places = {act.address for act, _ in caller.acts}
        mine, others = parted(left, lambda act: act.address in places and caller.who in {None, act.who})  # noqa: B023
        if mine:
            shared.append((caller, mine))
            left = others
    by_who: dict[Who, Listed] = {}
    for pair in left:
        by_who.setdefault(pair[0].who, []).append(pair)
    shared += [(Cluster(_name_of(history, who), who, listed), listed) for who, listed in by_who.items()]
    return shared


def forgive(history: History) -> None:
    """Take back a burst's doubt where the same caller does the same in calm times too, at the same place.

    A service that restarts reads all it needs at once; an intruder has no calm times.
    """

    def usual(act: Act) -> Hashable:
        what = family(history, act) if act.kind is Kind.RETRIEVAL else None
        return act.who, act.kind, act.address, is_own(history, act), what

    calm = {usual(act) for act, times in history.acts.items() if not times.doubts}
    for act, times in history.acts.items():
        if times.doubts and times.doubts <= BURSTS and usual(act) in calm:
            times.doubts, times.bursts = set(), set(times.doubts)


def parted(listed: Listed, holds: Callable[[Act], bool]) -> tuple[Listed, Listed]:
    """The acts for which something holds, and the others."""
    yes: Listed = []
    no: Listed = []
    for pair in listed:
        (yes if holds(pair[0]) else no).append(pair)
    return yes, no


def of_kind(acts: dict[Act, Times], kind: Kind) -> Listed:
    """Acts of one kind, in an order that depends on nothing but them."""
    found = [pair for pair in acts.items() if pair[0].kind is kind]
    return sorted(
        found, key=lambda pair: tuple(part or "" for part in (*pair[0].who, pair[0].address, pair[0].secret_id))
    )


def _stem(agents: Iterable[str]) -> str | None:
    """`nova` of `nova-compute castellan ...`; None where agents name no service. A claim of the client."""
    stems = sorted(found[1].lower() for agent in agents if not _GENERIC.match(agent) and (found := _STEM.match(agent)))
    return stems[0] if stems else None


def _name_of(history: History, who: Who) -> str:
    known = history.declarations.directory.user(who.user_id)
    return (known.name if known is not None else who.user_name) or who.user_id or "nobody"
