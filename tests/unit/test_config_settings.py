"""The configuration file: what it becomes, and the message of every way to get it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmwatch.config.load import load
from kmwatch.config.problems import ConfigurationError
from kmwatch.config.rules import COUNTING_RULES, RULES
from kmwatch.config.sinks import KINDS as SINK_KINDS
from kmwatch.core.model import DAY, HOUR, MINUTE, SECOND, Mode, Severity
from tests.support.files import SETTINGS, Files

SINKS = "sinks: [{name: screen, stdout: {}}]"
SOURCES = 'sources: [{file: {paths: ["-"]}}]'


def sinks(text: str) -> str:
    return SETTINGS.replace(SINKS, f"sinks: [{text}]")


def sources(text: str) -> str:
    return SETTINGS.replace(SOURCES, f"sources: [{text}]")


def kafka(security: str) -> str:
    return sources(f'{{kafka: {{bootstrap: ["k:9092"], topics: [t], security: {{{security}}}}}}}')


KINDS = ", ".join(SINK_KINDS)
RULE_LIST = ", ".join(RULES)
TOP = (
    "sources, witnesses, callers, identities, inventory, store, sinks, detections, runbooks, learning, silences,"
    " proxies, proxy_log, backend_log, network, http, timing, limits, ledger, log"
)


def postgres(keys: str) -> str:
    return SETTINGS.replace("{sqlite: {path: state.db}}", f"{{postgres: {{{keys}}}}}")


BROKEN = [
    (SETTINGS + "witneses: {}", f'7: witneses: unknown key; did you mean "witnesses"? allowed: {TOP}'),
    (SETTINGS + "callers: x.yaml", "7: callers: this key is already on line 2; keep one of the two"),
    (SETTINGS + "proxies:", "7: proxies: is empty; give it a value or remove it"),
    (SETTINGS + "proxies: 10.0.0.5/32", "7: proxies: must be a list; write [..] around it"),
    (
        SETTINGS + "proxies: [10.0.0.5/24]",
        '7: proxies[0]: "10.0.0.5/24" has host bits set; write 10.0.0.0/24, or 10.0.0.5 for one address',
    ),
    (
        SETTINGS + "proxies: [inside]",
        '7: proxies[0]: "inside" is no network; write one like 10.20.0.0/24 or 2001:db8::/64',
    ),
    (SETTINGS + "http: {listen: 9464}", "7: http.listen: must be host:port, such as 127.0.0.1:9464 or [::1]:9464"),
    (SETTINGS + "log: {level: inf}", '7: log.level: must be one of debug, info, warning, error; did you mean "info"?'),
    (SETTINGS + "log: verbose", "7: log: must hold keys and values (key: value)"),
    (SETTINGS + "limits: {outbox: 1}", "7: limits.outbox: must be at least 100"),
    (SETTINGS + "limits: {outbox: many}", "7: limits.outbox: must be a whole number"),
    (
        SETTINGS + "timing: {lateness: 1m, settle: 30s}",
        "7: timing: settle may not be shorter than lateness; a record in time could miss its request",
    ),
    (SETTINGS + "timing: {settle: 3h}", "7: timing.settle: may be 2h at most; shorten it"),
    (
        SETTINGS + "timing: {settle: 5 minutes}",
        "7: timing.settle: is not a duration; write 90s, 5m, 1h, 7d or whole seconds",
    ),
    (
        SETTINGS + "witnesses: {cadf: needed}",
        "7: witnesses.cadf: must be one of required, expected, absent",
    ),
    (
        SETTINGS + "detections: {KMW-021: {}}",
        f"7: detections.KMW-021: KMW-021 is not available in this release; available: {RULE_LIST}",
    ),
    (
        SETTINGS + "detections: {KMW-0O1: {}}",
        '7: detections.KMW-0O1: there is no detection "KMW-0O1"; available: ' + RULE_LIST,
    ),
    (
        SETTINGS + "detections: {KMW-001: {threshold: 3}}",
        f"7: detections: KMW-001 does not count, so it has no threshold; those that do: {', '.join(COUNTING_RULES)}",
    ),
    (
        SETTINGS + "detections: {KMW-005: {mode: of}}",
        '7: detections.KMW-005.mode: must be one of enforce, shadow, off; did you mean "off"?',
    ),
    (
        SETTINGS + "detections: {KMW-005: {window: 0}}",
        "7: detections.KMW-005.window: must be longer than nothing; write at least 1s",
    ),
    (SETTINGS.replace("callers: callers.yaml\n", ""), "1: callers: is missing; add it (Path of the caller map)"),
    (
        SETTINGS.replace("{sqlite: {path: state.db}}", "{sqlite: {path: state.db}, postgres: {url: 'postgresql://a'}}"),
        "5: store: a store is exactly one of: sqlite, postgres; keep one of them",
    ),
    (
        postgres("url: 'postgresql://me:hunter2@db/kmwatch'"),
        ("5: store.postgres.url: holds a password; write it under store.postgres.password, as ${NAME} or file:PATH"),
    ),
    (
        postgres("url: 'mysql://db/kmwatch'"),
        "5: store.postgres.url: is no address of PostgreSQL; write postgresql://user@host:5432/database",
    ),
    (
        postgres("url: 'postgresql://db/kmwatch?sslmode=disable&application_name=x'"),
        "5: store.postgres.url: sets sslmode; remove it, the keys of store.postgres set what it would",
    ),
    (
        postgres("url: 'postgresql://db/kmwatch', lease: 1s"),
        "5: store.postgres.lease: must be from 2s to 120s",
    ),
    (
        postgres("url: 'postgresql://db/kmwatch', cert: c.pem"),
        "5: store.postgres: cert and key belong together; give both or neither",
    ),
    (
        postgres("url: 'postgresql://db/kmwatch', tls: disable, ca: c.pem"),
        "5: store.postgres: tls: disable uses no ca, cert or key; remove them or the line",
    ),
    (sources(""), "1: sources: must not be empty; list at least one"),
    (sources("{}"), "1: sources[0]: a source is exactly one of: kafka, file; keep one of them"),
    (
        sources('{file: {paths: ["-"]}}, {file: {paths: ["-"]}}'),
        '1: sources: standard input ("-") can be read by one source only; remove the others',
    ),
    (
        sources('{kafka: {bootstrap: ["k"], topics: [t]}}'),
        "1: sources[0].kafka.bootstrap[0]: must be host:port, such as 127.0.0.1:9464 or [::1]:9464",
    ),
    (
        kafka("protocol: sasl_ssl, username: me"),
        "1: sources[0].kafka.security: protocol sasl_ssl needs mechanism, password; add them",
    ),
    (
        kafka("password: hunter2"),
        (
            "1: sources[0].kafka.security: protocol plaintext uses no mechanism, username or password;"
            " remove them or write protocol: sasl_ssl"
        ),
    ),
    (
        kafka("ca: ca.pem"),
        "1: sources[0].kafka.security: protocol plaintext uses no ca, cert or key; remove them or use ssl or sasl_ssl",
    ),
    (
        kafka("protocol: ssl, cert: c.pem"),
        "1: sources[0].kafka.security: cert and key belong together; give both or neither",
    ),
    (
        kafka('protocol: sasl_ssl, mechanism: PLAIN, username: me, password: "file:nowhere"'),
        (
            "1: sources[0].kafka.security.password: the file of this credential cannot be read;"
            " check the path and its rights"
        ),
    ),
    (sinks("{name: a b, stdout: {}}"), "6: sinks[0].name: must match ^[a-z0-9_-]{1,40}$"),
    (
        sinks("{name: a, stdout: {}}, {name: a, stdout: {}}"),
        '6: sinks: two sinks are named "a"; give each its own name',
    ),
    (sinks("{name: a}"), f"6: sinks[0]: a sink is exactly one of: {KINDS}; keep one of them"),
    (sinks("{name: a, stdout: }"), "6: sinks[0].stdout: is empty; give it a value or remove it"),
    (
        sinks("{name: a, splunk_hec: {url: x, token: t}}"),
        "6: sinks[0].splunk_hec.url: is no URL; write https://host:port",
    ),
    (
        sinks('{name: a, splunk_hec: {url: "https://u:p@splunk:8088", token: t}}'),
        "6: sinks[0].splunk_hec.url: may hold no user and password; write them under their own keys",
    ),
    (
        sinks('{name: a, webhook: {url: "https://soar/hook?key=x", secret: short}}'),
        (
            "6: sinks[0].webhook.secret: must be whsec_ and 24 to 64 random octets in base64;"
            " make one: openssl rand -base64 32"
        ),
    ),
    (
        sinks('{name: a, opensearch: {url: "https://s:9200", data_stream: k}, format: cef}'),
        "6: sinks[0]: opensearch takes JSON; write format: ocsf or ecs",
    ),
    (
        sinks('{name: a, opensearch: {url: "https://s:9200", data_stream: k, api_key: x, username: u, password: p}}'),
        "6: sinks[0].opensearch: give api_key, or username and password, not both",
    ),
    (
        sinks('{name: a, alertmanager: {url: "http://a:9093"}, heartbeat: 5m}'),
        "6: sinks[0]: alertmanager has a form of its own and no heartbeat; remove format and heartbeat",
    ),
    (
        sinks('{name: a, alertmanager: {url: "http://a:9093", labels: {severity: x}}}'),
        "6: sinks[0].alertmanager: labels severity are kmwatch's own; choose other names",
    ),
    (
        sinks("{name: a, stdout: {}, detections: [KMW-001], without: [KMW-001]}"),
        "6: sinks[0]: gets no detection at all; name some under detections, or remove it",
    ),
    (
        sinks("{name: a, stdout: {}, detections: [KMW-021]}"),
        f"6: sinks[0].detections[0]: KMW-021 is not available in this release; available: {RULE_LIST}",
    ),
    (
        kafka("protocol: sasl_ssl, mechanism: OAUTHBEARER"),
        "1: sources[0].kafka.security: mechanism OAUTHBEARER needs oauth, and no username or password",
    ),
    (
        kafka("protocol: sasl_ssl, mechanism: OAUTHBEARER, oauth: {client_id: x}"),
        (
            "1: sources[0].kafka.security.oauth: token_url, client_id and client_secret belong together; give all of"
            " them"
        ),
    ),
    (
        sinks("{name: a, stdout: {}, format: lee}"),
        '6: sinks[0].format: must be one of ocsf, ecs, cef, leef; did you mean "leef"?',
    ),
    (
        sinks('{name: a, syslog: {address: "https://siem:1"}}'),
        "6: sinks[0].syslog.address: is no address; write tls://host:port or tcp://host:port or udp://host:port",
    ),
    (
        sinks('{name: a, syslog: {address: "udp://siem:514", ca: ca.pem}}'),
        "6: sinks[0].syslog: ca, cert and key need TLS; write address: tls://host:port or remove them",
    ),
    (
        sinks('{name: "${NAME}", stdout: {}}'),
        "6: sinks[0].name: the environment variable NAME is not set; set it or remove ${NAME}",
    ),
    (
        sinks('{name: "${N", stdout: {}}'),
        "6: sinks[0].name: ${ begins the name of an environment variable, as in ${NAME}; write $${ for a literal ${",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BROKEN)
def test_a_broken_configuration_is_refused_with_its_line_and_a_way_out(
    tmp_path: Path, settings: str, message: str
) -> None:
    files = Files(tmp_path, settings=settings)
    with pytest.raises(ConfigurationError):
        files.load()
    assert [line for line in files.problems() if ": warning: " not in line] == [f"kmwatch.yaml:{message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "2: is not valid YAML here:"),
        ("a:\n\tb: 1", "2: a tab cannot indent YAML; use spaces"),
        ("", "1: must hold keys and values (key: value); it is empty or something else"),
        ("- a", "1: must hold keys and values"),
        ("a: !!python/name:os.system x", "1: a: the tag"),
        ("a: {<<: {b: 1}}", "1: a: merge keys (<<) are not supported; repeat the keys or use an alias"),
        ("a: \x01", "1: holds a character that YAML does not allow; remove it"),
        ("a: &a [*a]", "1: is nested more than 64 levels deep; flatten it"),
        ("[" * 5000, "1: is nested more than 64 levels deep; flatten it"),
        ("? [a]\n: b", "1: a key must be plain text"),
        ("a: 1\n---\nb: 2", "2: is not valid YAML here:"),
    ],
)
def test_a_file_that_is_no_plain_yaml_is_refused_at_its_line(tmp_path: Path, text: str, message: str) -> None:
    (found,) = Files(tmp_path, settings=text).problems()
    assert found.startswith(f"kmwatch.yaml:{message}")


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (found,) = Files(tmp_path, settings="\n".join(rows)).problems()
    assert "has more than 200000 values, aliases included; shorten it" in found


def test_a_file_that_is_absent_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kmwatch.yaml"
    for content, message in (
        (None, "cannot be read (No such file or directory); check the path and its rights"),
        (b"#" * (5 << 20), "is larger than 4 MiB; split or shorten it"),
        (b"a: 1\nb: \xff", "is not UTF-8 text; save it as UTF-8"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            load(path, {})
        assert [problem.message for problem in caught.value.problems] == [message]


def test_all_errors_of_all_files_come_at_once(tmp_path: Path) -> None:
    files = Files(
        tmp_path,
        settings=SETTINGS + "log: {level: loud}",
        callers="allow: [{id: a, callers: [octavai]}]",
        identities="{",
        inventory="{",
    )
    names = {line.partition(":")[0] for line in files.problems()}
    assert names == {"kmwatch.yaml", "callers.yaml", "identities.json", "inventory.jsonl"}


def test_a_working_configuration_has_its_defaults(tmp_path: Path) -> None:
    settings = Files(tmp_path).load().settings
    assert (settings.timing.lateness, settings.timing.settle) == (10 * SECOND, 30 * SECOND)
    assert settings.http.listen == "127.0.0.1:9464"
    assert settings.limits.outbox == 100_000
    assert settings.witnesses.cadf == "required"
    assert settings.witnesses.proxy_log == "absent"
    (sink,) = settings.sinks
    assert (sink.format, sink.min_severity, sink.required) == ("ocsf", Severity.INFORMATIONAL, True)


@pytest.mark.parametrize(
    ("text", "micros"), [("90s", 90 * SECOND), ("5m", 5 * MINUTE), ("1h", HOUR), ("7d", 7 * DAY), ("45", 45 * SECOND)]
)
def test_durations_are_microseconds(tmp_path: Path, text: str, micros: int) -> None:
    settings = Files(tmp_path, settings=f"{SETTINGS}detections: {{KMW-005: {{window: {text}}}}}").load().settings
    assert settings.detections["KMW-005"].window == micros


def test_a_mode_off_is_off_and_not_false(tmp_path: Path) -> None:
    loaded = Files(tmp_path, settings=SETTINGS + "detections: {KMW-016: {mode: off, severity: high}}").load()
    detection = loaded.settings.detections["KMW-016"]
    assert (detection.mode, detection.severity) == (Mode.OFF, Severity.HIGH)


def test_relative_paths_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    text = SETTINGS.replace('["-"]', '["-", "records/*.gz", /var/log/x]')
    settings = Files(tmp_path, settings=text).load().settings
    assert settings.sources[0].file is not None
    assert settings.sources[0].file.paths == ("-", f"{tmp_path}/records/*.gz", "/var/log/x")
    assert settings.store.sqlite is not None
    assert settings.store.sqlite.path == tmp_path / "state.db"


def test_the_environment_fills_in_values_and_an_escape_stays(tmp_path: Path) -> None:
    text = sinks('{name: "${NAME}-1", file: {path: "$${NAME}.jsonl"}}')
    (sink,) = Files(tmp_path, settings=text).load(NAME="siem").settings.sinks
    assert sink.name == "siem-1"
    assert sink.file is not None
    assert sink.file.path.name == "${NAME}.jsonl"


@pytest.mark.parametrize("password", ["${PASSWORD}", "file:secret.txt", "hunter2"])
def test_a_password_comes_from_where_it_says_and_never_shows(tmp_path: Path, password: str) -> None:
    (tmp_path / "secret.txt").write_text("hunter2\n")
    text = kafka(f'protocol: sasl_ssl, mechanism: PLAIN, username: me, password: "{password}"')
    settings = Files(tmp_path, settings=text).load(PASSWORD="hunter2").settings
    assert settings.sources[0].kafka is not None
    found = settings.sources[0].kafka.security.password
    assert found is not None
    assert found.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_no_message_repeats_what_came_from_the_environment(tmp_path: Path) -> None:
    text = SETTINGS + 'log: {level: "${LEVEL}", format: "${LEVEL}"}\nproxies: "${LEVEL}"'
    assert "hunter2" not in "\n".join(Files(tmp_path, settings=text).problems(LEVEL="hunter2"))


def test_a_syslog_address_is_available_in_parts(tmp_path: Path) -> None:
    (sink,) = Files(tmp_path, settings=sinks('{name: a, syslog: {address: "tls://[::1]:6514"}}')).load().settings.sinks
    assert sink.syslog is not None
    endpoint = sink.syslog.endpoint
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("tls", "::1", 6514)


def test_a_message_cannot_drive_a_terminal(tmp_path: Path) -> None:
    (found,) = Files(tmp_path, settings=SETTINGS + '"\\e[31m\\n": 1').problems()
    assert "\x1b" not in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("callers: callers.yaml", 'callers: "a\\0b"', "callers"),
        ("file: identities.json", 'file: "a\\0b"', "identities.file"),
        ("file: inventory.jsonl", 'file: "a\\0b"', "inventory.file"),
        ('paths: ["-"]', 'paths: ["a\\0b"]', "sources[0].file.paths[0]"),
    ],
)
def test_a_path_with_a_nul_in_it_is_refused_at_its_line(tmp_path: Path, right: str, wrong: str, where: str) -> None:
    assert right in SETTINGS
    problems = Files(tmp_path, settings=SETTINGS.replace(right, wrong)).problems()
    assert any(f": {where}: must be the path of a file" in problem for problem in problems)


def test_an_inventory_without_an_end_is_not_read(tmp_path: Path) -> None:
    problems = Files(tmp_path, settings=SETTINGS.replace("file: inventory.jsonl", "file: /dev/null")).problems()
    assert "/dev/null:1: is a device; name a file" in problems
