"""The caller map: its grammar, the message of every way to get it wrong, and what deserves a second look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmwatch.config.load import Loaded
from kmwatch.core.callermap import CallerMap
from kmwatch.core.match import match
from kmwatch.core.model import Kind, Rate
from tests.support.declared import NOON, event, initiator
from tests.support.files import CALLERS, IDENTITIES, SETTINGS, Files

A = "id: a, callers: [octavia], secrets: [lb]"
SELECTORS = "ids, names, types, projects, creators, containers"


def with_caller(text: str) -> str:
    return CALLERS.replace("{users: [{name: octavia}]}", f"{{{text}}}")


def with_group(text: str) -> str:
    return CALLERS.replace('{names: ["lb-*"], types: [private]}', f"{{{text}}}")


def with_entry(text: str) -> str:
    return CALLERS + f"  - {{{text}}}\n"


USER_FORM = "a user is selected by id or by name; give exactly one of them"
ERRORS = [
    (
        CALLERS + "alow: []",
        (
            'alow: unknown key; did you mean "allow"?'
            " allowed: callers, secrets, allow, decoys, backend, host, maintenance, tests"
        ),
    ),
    (with_caller("networks: [10.0.0.0/8]"), "callers.octavia: fits anybody; name users, projects or roles"),
    (
        with_caller("users: on-behalf-of-creator"),
        (
            "callers.octavia: on-behalf-of-creator needs networks: its token is the creator's own;"
            " list the networks of the service"
        ),
    ),
    (
        with_caller("users: creater"),
        (
            "callers.octavia.users: must be a list of users, or one of creator, on-behalf-of-creator;"
            ' did you mean "creator"?'
        ),
    ),
    (with_caller("users: []"), "callers.octavia.users: must not be empty; list at least one"),
    (with_caller("users: [octavia]"), "callers.octavia.users[0]: must hold keys and values (key: value)"),
    (with_caller("users: [{}]"), f"callers.octavia.users[0]: {USER_FORM}"),
    (with_caller("users: [{id: 1, name: x}]"), f"callers.octavia.users[0]: {USER_FORM}"),
    (
        with_caller("users: [{id: 1, domain: x}]"),
        "callers.octavia.users[0]: an id is unique without its domain; remove domain",
    ),
    (
        with_caller("users: [{nme: octavia}]"),
        'callers.octavia.users[0].nme: unknown key; did you mean "name"? allowed: id, name, project, domain',
    ),
    (
        with_caller("users: [{name: octavia}], networks: [10.20.0.7/24]"),
        (
            'callers.octavia.networks[0]: "10.20.0.7/24" has host bits set;'
            " write 10.20.0.0/24, or 10.20.0.7 for one address"
        ),
    ),
    (
        with_caller("users: [{name: octavia}], networks: "),
        "callers.octavia.networks: is empty; give it a value or remove it",
    ),
    (with_group(""), f"secrets.lb: selects every secret; name at least one of {SELECTORS}, or allow secrets: any"),
    (
        with_group("name: x"),
        f'secrets.lb.name: unknown key; did you mean "names"? allowed: description, {SELECTORS}',
    ),
    (with_group("names: lb-*"), "secrets.lb.names: must be a list; write [..] around it"),
    (
        with_entry("id: a, callers: [octavai], secrets: [lb]"),
        'allow[1].callers: no caller is named "octavai"; did you mean "octavia"?',
    ),
    (
        with_entry("id: a, callers: [zzz], secrets: [lb]"),
        'allow[1].callers: no caller is named "zzz"; declare it under callers or correct the name',
    ),
    (
        with_entry("id: a, callers: [octavia], secrets: [lbs]"),
        'allow[1].secrets: no secret group is named "lbs"; did you mean "lb"?',
    ),
    (
        with_entry("id: a, callers: [octavia], secrets: anything"),
        "allow[1].secrets: must be a list of secret groups, or one of any, created-by-caller",
    ),
    (
        with_entry("id: octavia-lb, callers: [octavia], secrets: any"),
        'allow[1].id: the id "octavia-lb" is taken by allow[0]; give each its own',
    ),
    (with_entry("callers: [octavia], secrets: any"), "allow[1].id: is missing; add it (Its name in alerts; unique)"),
    (with_entry("id: a, secrets: any"), "allow[1].callers: is missing; add it (Names of callers, any of them)"),
    (with_entry(f"{A}, rate: 200"), "allow[1].rate: is no rate; write distinct secrets per time, such as 200/5m"),
    (with_entry(f"{A}, rate: 5/0s"), "allow[1].rate: is no rate; write distinct secrets per time, such as 200/5m"),
    (
        with_entry(f"{A}, expires: 2027-02-30"),
        "allow[1].expires: is no date; write the last day that counts, such as 2027-06-30",
    ),
    (
        with_entry(f"{A}, hours: {{from: 8:00}}"),
        "allow[1].hours.from: is no time of day; write HH:MM, from 00:00 to 24:00",
    ),
    (
        with_entry(f"{A}, hours: {{from: 08:00, to: 08:00}}"),
        "allow[1].hours: from and to leave no time between them; write from: 00:00 and to: 24:00 for all day",
    ),
    (
        with_entry(f"{A}, hours: {{timezone: Mars/Olympus}}"),
        'allow[1].hours.timezone: there is no time zone "Mars/Olympus"; write an IANA name such as Europe/Berlin',
    ),
    (
        with_entry(f"{A}, hours: {{days: [monday]}}"),
        'allow[1].hours.days[0]: must be one of mon, tue, wed, thu, fri, sat, sun; did you mean "mon"?',
    ),
    (CALLERS + "decoys: [{}]", "decoys[0].id: is missing; add it (Secret id)"),
    (CALLERS + "decoys: [{id: s1}, {id: s1}]", 'decoys[1].id: the id "s1" is taken by decoys[0]; give each its own'),
    (
        CALLERS + "backend: {clients: [{id: x}]}",
        "backend.clients[0]: fits any client; name names, hosts, roles or addresses",
    ),
    (CALLERS + "host: {readers: [{}]}", "host.readers[0]: fits any process; name user, login or exe"),
    (
        CALLERS + "maintenance: [{id: x, from: 2026-01-02T00:00:00Z, to: 2026-01-01T00:00:00Z}]",
        "maintenance[0]: ends before it begins; swap from and to",
    ),
    (
        CALLERS + "maintenance: [{id: x, from: 2026-01-02T00:00:00, to: 2026-01-03T00:00:00Z}]",
        "maintenance[0].from: is no moment in UTC; write one such as 2026-11-24T00:07:11Z",
    ),
]


@pytest.mark.parametrize(("callers", "message"), ERRORS)
def test_a_broken_map_is_refused_with_a_way_out(tmp_path: Path, callers: str, message: str) -> None:
    found = [line for line in Files(tmp_path, callers=callers).problems() if ": warning: " not in line]
    assert [line.split(": ", 1)[1] for line in found] == [message]


WORK = "id: w, from: 2026-11-24T00:00:00Z, to: 2026-11-24T01:00:00Z"
WARNINGS = [
    (
        with_group('names: ["lb-*"]'),
        (
            "secrets.lb: rests on names alone, and whoever creates a secret chooses its name;"
            " add types, projects, creators or containers"
        ),
    ),
    (
        with_entry(f"{A}, actions: [delete], expires: 2026-11-23"),
        "allow[1].expires: expired after 2026-11-23; remove the entry or set a later date",
    ),
    (with_entry(A), 'allow[1]: allows nothing beyond "octavia-lb" (allow[0]); remove one of the two'),
    (
        with_entry("id: a, callers: [octavia]"),
        "allow[1]: allows every secret; name secret groups, or write secrets: any to say so",
    ),
    (
        with_entry(f"{A.replace('[octavia]', '[octavia, octavia]')}, actions: [delete]"),
        'allow[1].callers: "octavia" is listed twice; remove one',
    ),
    (
        CALLERS.replace("secrets:\n", "  idle: {roles: [x]}\nsecrets:\n", 1),
        "callers.idle: no allow entry uses it; use it or remove it",
    ),
    (
        CALLERS.replace("allow:", "  idle: {ids: [s1]}\nallow:"),
        "secrets.idle: no allow entry uses it; use it or remove it",
    ),
    (
        with_caller("users: [{name: octavai}]"),
        (
            'callers.octavia.users[0]: identities know no user "octavai", so requests are'
            ' matched by the name their log shows; add it there or use id; did you mean "octavia"?'
        ),
    ),
    (
        with_caller("users: [{name: octavia, domain: Other}]"),
        (
            'callers.octavia.users[0]: identities know no user "octavia" in the domain'
            ' "Other", so requests are matched by the name their log shows; add it there or use id'
        ),
    ),
    (
        with_caller("projects: [{name: nowhere}]"),
        (
            'callers.octavia.projects[0]: identities know no project "nowhere", so requests are'
            " matched by the name their log shows; add it there or use id"
        ),
    ),
    (with_group("ids: [s9]"), "secrets.lb.ids[0]: the inventory has no such secret; correct or remove it"),
    (CALLERS + "decoys: [{id: s9}]", "decoys[0].id: the inventory has no such secret; correct or remove it"),
    (
        CALLERS + "backend: {clients: [{id: a, names: [x]}]}",
        (
            "backend.clients[0]: may log in from any host; name its hosts or addresses, or whoever has its credential"
            " passes for it"
        ),
    ),
    (
        CALLERS + "backend: {clients: [{id: a, roles: [x], addresses: [10.0.0.1/32]}]}",
        "backend.clients[0]: may use every mount of the store; name its mounts",
    ),
    (CALLERS + "host: {config: [barbican.conf]}", "host.config[0]: fits no absolute path; begin it with /"),
    (
        CALLERS + "host: {key_files: [/k]}",
        "host.readers: names nobody, so the service's own start is an alarm; declare it",
    ),
    (
        CALLERS + "host: {key_files: [/k], readers: [{user: barbican}]}",
        "host.readers[0]: may open the master key with any login and any exe; name login",
    ),
    (
        CALLERS + f"maintenance: [{{{WORK}, users: [a]}}]",
        "maintenance[0]: has no ticket; say where it was agreed",
    ),
    (
        CALLERS + f"maintenance: [{{{WORK}, ticket: T}}]",
        "maintenance[0]: covers whoever is at work then; name clients or users",
    ),
    (
        CALLERS + f"maintenance: [{{{WORK.replace('24T01', '26T01')}, users: [a], ticket: T}}]",
        "maintenance[0]: lasts longer than a day; announce each piece of work by itself",
    ),
]


@pytest.mark.parametrize(("callers", "message"), WARNINGS)
def test_what_deserves_a_second_look_is_a_warning_and_loads(tmp_path: Path, callers: str, message: str) -> None:
    problems = Files(tmp_path, callers=callers).load().problems
    assert [f"{problem.where}: {problem.message}" for problem in problems] == [message]


def test_an_entry_that_lasts_to_today_has_not_expired(tmp_path: Path) -> None:
    entry = with_entry("id: a, callers: [octavia], secrets: any, expires: 2026-11-24")
    assert Files(tmp_path, callers=entry).problems() == []


def test_a_wider_later_entry_is_not_idle(tmp_path: Path) -> None:
    assert Files(tmp_path, callers=with_entry("id: a, callers: [octavia], secrets: any")).problems() == []


def test_references_are_checked_even_in_entries_that_are_broken_otherwise(tmp_path: Path) -> None:
    found = Files(tmp_path, callers=with_entry("id: a, callers: [octavai], rate: 5")).problems()
    assert [line for line in found if "octavai" in line]
    assert [line for line in found if "rate" in line]


def test_a_name_of_two_users_is_an_error_until_a_domain_tells_them_apart(tmp_path: Path) -> None:
    namesakes = [{"id": f"{n}", "name": "octavia", "domain_id": f"domain-{n}"} for n in (1, 2)]
    two = json.dumps({"users": namesakes})
    (found,) = Files(tmp_path, identities=two).problems()
    assert found == 'callers.yaml:2: callers.octavia.users[0]: several users are named "octavia"; add domain, or use id'
    apart = with_caller("users: [{name: octavia, domain: domain-2}]")
    assert Files(tmp_path, identities=two, callers=apart).problems() == []


def test_without_identities_a_name_is_matched_as_shown_and_check_says_so(tmp_path: Path) -> None:
    settings = SETTINGS.replace("identities: {file: identities.json}\n", "")
    (found,) = Files(tmp_path, settings=settings).problems()
    assert found == (
        "callers.yaml:2: warning: callers.octavia.users[0]: no identities are configured, so requests are matched by"
        " the name their log shows; configure identities or use ids"
    )


FULL = """\
callers:
  octavia: {owner: net, description: d, users: [{id: "1"}, {name: alice, project: service}], projects: [{id: "3"}],
            networks: [10.20.0.0/24, "2001:db8::/64"], agents: ["octavia*"]}
  self: {users: creator}
  nova: {users: on-behalf-of-creator, networks: [10.10.0.0/22]}
  roles: {roles: [service]}
secrets:
  all: {description: d, ids: [s1], names: ["lb-?"], types: [private], projects: [{name: service}],
        creators: [{id: "2"}], containers: [c]}
allow:
  - {id: a, callers: [octavia, nova], secrets: [all], actions: [retrieval, acl_change], rate: 200/5m,
     hours: {days: [mon, tue], from: 08:00, to: "18:00", timezone: Europe/Berlin},
     expires: 2027-06-30, ticket: SEC-1, owner: o, reason: r}
  - {id: b, callers: [self], secrets: created-by-caller}
  - {id: c, callers: [roles], secrets: any}
decoys: [{id: s1, name: honey, owner: soc, description: d}]
backend:
  clients: [{id: api, names: [barbican-api], hosts: [ctl01]}, {id: monitor, names: [hsm-monitor], login: false}]
host:
  key_files: [/etc/barbican/kek.conf]
  config: [/etc/barbican/*]
  databases: [/var/lib/barbican/*]
  readers: [{user: barbican, login: unset, exe: "/usr/bin/python3*"}]
  editors: [{login: ops1}]
maintenance: [{id: rotation-q4, from: 2026-11-24T00:07:11Z, to: 2026-11-24T00:07:46Z, clients: [barbican-manage],
               users: [ops1], ticket: SEC-9}]
"""


def loaded(tmp_path: Path, callers: str) -> Loaded:
    return Files(tmp_path, callers=callers).load()


def test_every_key_of_the_grammar_is_accepted_together(tmp_path: Path) -> None:
    found = loaded(tmp_path, FULL)
    assert found.problems == ()
    first, *_ = found.declarations.clauses
    assert first.entry.actions == (Kind.RETRIEVAL, Kind.ACL_CHANGE)
    assert first.entry.rate == Rate(200, 300_000_000)
    assert first.entry.hours is not None
    assert (first.entry.hours.days, first.entry.hours.start, first.entry.hours.end) == ((0, 1), 480, 1080)
    assert found.declarations.decoy("s1") == "honey"


def test_an_expiry_counts_to_the_end_of_its_day_in_utc(tmp_path: Path) -> None:
    held = loaded(tmp_path, CALLERS.replace("secrets: [lb]", "secrets: any, expires: 2026-11-24")).declarations
    midnight = NOON + 12 * 3_600_000_000
    assert match(held, event(initiator("1"), at=midnight - 1)).explained is True
    assert match(held, event(initiator("1"), at=midnight)).explained is False


def test_an_id_of_digits_alone_stays_exact(tmp_path: Path) -> None:
    held = loaded(tmp_path, with_caller("users: [{id: 12345678901234567890123456789012}, {id: 0123}, {id: 12e4}]"))
    (clause,) = held.declarations.clauses
    assert clause.caller.users is not None
    assert [user.id for user in clause.caller.users] == ["12345678901234567890123456789012", "0123", "12e4"]


def test_an_empty_map_loads_and_allows_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "allow: []").declarations.clauses == ()
    assert CallerMap().allow == ()


def test_the_example_of_a_digest_is_stable_between_loads(tmp_path: Path) -> None:
    first = loaded(tmp_path, FULL).declarations.digest
    assert loaded(tmp_path, FULL).declarations.digest == first
    assert Files(tmp_path, callers=FULL, identities=IDENTITIES.replace("3", "4")).load().declarations.digest != first
