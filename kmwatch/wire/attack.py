"""MITRE ATT&CK (Enterprise) names for the techniques that rules cite; the version stands here alone.

A technique can belong to several tactics; the table names the one a reader of a secret store's audit trail is
looking at.
"""

from __future__ import annotations

from typing import NamedTuple

ATTACK_VERSION = "19"


class Technique(NamedTuple):
    """`name` of a sub-technique is its own; `parent` is the name of the technique it belongs to."""

    name: str
    parent: str | None
    tactic_id: str
    tactic: str
    version: str = ATTACK_VERSION  # the last one that knows it, if it was revoked since


TECHNIQUES: dict[str, Technique] = {
    "T1005": Technique("Data from Local System", None, "TA0009", "Collection"),
    "T1078": Technique("Valid Accounts", None, "TA0001", "Initial Access"),
    "T1078.004": Technique("Cloud Accounts", "Valid Accounts", "TA0001", "Initial Access"),
    "T1090.003": Technique("Multi-hop Proxy", "Proxy", "TA0011", "Command and Control"),
    "T1098": Technique("Account Manipulation", None, "TA0003", "Persistence"),
    "T1110": Technique("Brute Force", None, "TA0006", "Credential Access"),
    "T1119": Technique("Automated Collection", None, "TA0009", "Collection"),
    "T1199": Technique("Trusted Relationship", None, "TA0001", "Initial Access"),
    "T1485": Technique("Data Destruction", None, "TA0040", "Impact"),
    "T1222.002": Technique(
        "Linux and Mac File and Directory Permissions Modification",
        "File and Directory Permissions Modification",
        "TA0005",
        "Defense Evasion",
    ),
    "T1552.004": Technique("Private Keys", "Unsecured Credentials", "TA0006", "Credential Access"),
    "T1489": Technique("Service Stop", None, "TA0040", "Impact"),
    "T1499": Technique("Endpoint Denial of Service", None, "TA0040", "Impact"),
    "T1548.005": Technique(
        "Temporary Elevated Cloud Access", "Abuse Elevation Control Mechanism", "TA0004", "Privilege Escalation"
    ),
    "T1550.001": Technique(
        "Application Access Token", "Use Alternate Authentication Material", "TA0008", "Lateral Movement"
    ),
    "T1555.006": Technique(
        "Cloud Secrets Management Stores", "Credentials from Password Stores", "TA0006", "Credential Access"
    ),
    "T1562.001": Technique(
        "Disable or Modify Tools", "Impair Defenses", "TA0005", "Defense Evasion", "18"
    ),  # its successor in version 19 is T1685
    "T1562.008": Technique(
        "Disable or Modify Cloud Logs", "Impair Defenses", "TA0005", "Defense Evasion", "18"
    ),  # its successor in version 19 is T1685.002
    "T1562.012": Technique(
        "Disable or Modify Linux Audit System", "Impair Defenses", "TA0005", "Defense Evasion", "18"
    ),  # its successor in version 19 is T1685.004
    "T1565.001": Technique("Stored Data Manipulation", "Data Manipulation", "TA0040", "Impact"),
    "T1580": Technique("Cloud Infrastructure Discovery", None, "TA0007", "Discovery"),
    "T1685": Technique("Disable or Modify Tools", None, "TA0112", "Defense Impairment"),
    "T1685.002": Technique("Disable or Modify Cloud Log", "Disable or Modify Tools", "TA0112", "Defense Impairment"),
    "T1685.004": Technique(
        "Disable or Modify Linux Audit System Log", "Disable or Modify Tools", "TA0112", "Defense Impairment"
    ),
}
