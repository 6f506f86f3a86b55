"""Why the Key Manager gave a payload out: its own rules, held against what is known of the secret and the caller.

Barbican's policy for secret:decrypt with its new defaults (enforce_new_defaults = True, as shipped) is true for

1. role `admin` in the secret's project;
2. role `member` in the secret's project, for the secret's creator;
3. role `member` in the secret's project, unless the secret is private (ACL `read.project-access` false);
4. a user id that the secret's ACL lists under `read.users`, from any project and with any role.

With enforce_new_defaults = False the deprecated rules are ORed in: `admin`, `observer` or `creator` in the project.
Inventory, ACLs and role assignments are snapshots: what they say is how things are, not how they were at the time.
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import Initiator, Secret, Word

_DEPRECATED = ("admin", "observer", "creator")


class Rule(Word):
    """A way to a payload."""

    PROJECT_ADMIN = "project_admin"
    CREATOR = "creator"
    PROJECT_MEMBER = "project_member"
    ACL_USER = "acl_user"
    DEPRECATED_ROLE = "deprecated_role"


class Ground(Struct, frozen=True, gc=False):
    """One way, and whether it was open: None where what is known does not tell."""

    rule: Rule
    holds: bool | None
    why: str


class Entitlement(Struct, frozen=True):
    """All ways, in the order of the module's list, and what follows."""

    grounds: tuple[Ground, ...]

    @property
    def permitted(self) -> bool | None:
        """Whether the default policy permits the read; None where what is known does not tell."""
        told = [ground.holds for ground in self.grounds if ground.rule is not Rule.DEPRECATED_ROLE]
        return True if True in told else None if None in told else False

    @property
    def left(self) -> tuple[Rule, ...]:
        """The ways that are not ruled out, where none is known to be open: a read that succeeded took one of them."""
        default = [ground for ground in self.grounds if ground.rule is not Rule.DEPRECATED_ROLE]
        return () if self.permitted else tuple(ground.rule for ground in default if ground.holds is None)

    @property
    def by(self) -> tuple[Rule, ...]:
        """The ways that were open."""
        return tuple(ground.rule for ground in self.grounds if ground.holds)


def entitlement(who: Initiator, secret: Secret | None, roles: tuple[str, ...] | None) -> Entitlement:
    """Hold a caller against the rules.

    Args:
        who: the caller, with the project that their token is for.
        secret: as the inventory knows it, if it does.
        roles: of the caller in that project, as a log or the identities tell; None where neither does.

    Returns:
        Every way with a sentence that says why it was open, or not; it holds ids and no text of a client but those.
    """
    if secret is None:
        unknown = "the inventory does not know the secret"
        return Entitlement(tuple(Ground(rule, None, unknown) for rule in Rule))
    inside, place = _inside(who, secret)
    admin, member = _role("admin", roles), _role("member", roles)
    created, creator = _created(who, secret)
    shared, acl = _shared(secret)
    listed, readers = _listed(who, secret)
    old = None if roles is None else any(role in roles for role in _DEPRECATED)
    return Entitlement((
        _ground(Rule.PROJECT_ADMIN, (inside, place), admin),
        _ground(Rule.CREATOR, (created, creator), (inside, place), member),
        _ground(Rule.PROJECT_MEMBER, (inside, place), (shared, acl), member),
        Ground(Rule.ACL_USER, listed, readers),
        _ground(
            Rule.DEPRECATED_ROLE,
            (inside, place),
            (shared, acl),
            (old, "needs enforce_new_defaults = False and one of the roles " + ", ".join(_DEPRECATED)),
        ),
    ))  # fmt: skip


def known_roles(who: Initiator, declarations: Declarations) -> tuple[str, ...] | None:
    """The caller's roles in the project of their token: what a log shows, else what the identities assign."""
    if who.roles:
        return who.roles
    return declarations.directory.roles(who.user_id, who.project_id)


_Part = tuple[bool | None, str]


def _ground(rule: Rule, *parts: _Part) -> Ground:
    """All parts must hold; the first that does not says why."""
    for wanted in (False, None):
        for holds, why in parts:
            if holds is wanted:
                return Ground(rule, wanted, why)
    return Ground(rule, holds=True, why="; ".join(why for _, why in parts))


def _inside(who: Initiator, secret: Secret) -> _Part:
    if secret.project_id is None:
        return None, "the inventory does not tell the secret's project"
    if who.project_id is None:
        return None, "no log shows the token's project"
    if who.project_id == secret.project_id:
        return True, "the token is for the secret's project"
    return False, f"the token is for project {who.project_id}, the secret belongs to {secret.project_id}"


def _role(name: str, roles: tuple[str, ...] | None) -> _Part:
    if roles is None:
        return None, f"neither a log nor the identities tell whether the role {name} is held"
    return name in roles, f"the role {name} is {'held' if name in roles else 'not held'}"


def _created(who: Initiator, secret: Secret) -> _Part:
    if secret.creator_id is None or who.user_id is None:
        return None, "the secret's creator is not known" if secret.creator_id is None else "no log shows the user"
    same = secret.creator_id == who.user_id
    return same, "the caller created the secret" if same else f"user {secret.creator_id} created the secret"


def _shared(secret: Secret) -> _Part:
    if secret.acl is None:
        return None, "the inventory does not tell the secret's ACL"
    shared = secret.acl.project_access
    return shared, "the secret is open to its project" if shared else "the secret is private"


def _listed(who: Initiator, secret: Secret) -> _Part:
    if who.user_id is None:
        return None, "no log shows the user"
    if secret.acl is None:
        return None, "the inventory does not tell the secret's ACL"
    listed = who.user_id in secret.acl.users
    return listed, f"the secret's ACL {'lists' if listed else 'does not list'} the caller"
