"""Owns putting roles.py into a PostgreSQL database: roles, rights, row-level security; says what is missing and mends it.

Leaves which rights there are to roles.py. Where nothing differs nothing is locked, so that every start may ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tenantry.ports import StoreUnfit
from tenantry.store.roles import FUNCTIONS, PARTITIONED, RIGHTS, SEQUENCES, Role, walled

RIGHT = re.compile(r"([A-Z]+)(?: \(([^)]*)\))?")
ROLES = ", ".join(f"'{role}'" for role in Role)
ACLS = f"""
    SELECT 'TABLE', c.relname, '', r.rolname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a, pg_roles r
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND r.oid = a.grantee
    AND r.rolname IN ({ROLES})
    UNION ALL
    SELECT 'TABLE', c.relname, t.attname, r.rolname, a.privilege_type
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a, pg_roles r
    WHERE c.relnamespace = current_schema()::regnamespace AND r.oid = a.grantee AND r.rolname IN ({ROLES})
    UNION ALL
    SELECT 'SEQUENCE', c.relname, '', r.rolname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a, pg_roles r
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'S' AND r.oid = a.grantee
    AND r.rolname IN ({ROLES})
    UNION ALL
    SELECT 'FUNCTION', p.proname, '', r.rolname, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a, pg_roles r
    WHERE p.pronamespace = current_schema()::regnamespace AND r.oid = a.grantee AND r.rolname IN ({ROLES})
    UNION ALL
    SELECT 'SCHEMA', n.nspname, '', r.rolname, a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a, pg_roles r
    WHERE n.oid = current_schema()::regnamespace AND r.oid = a.grantee AND r.rolname IN ({ROLES})
"""


@dataclass(frozen=True, order=True, slots=True)
class Right:
    """One privilege of one role on one thing, or on one column of a table."""

    kind: str
    thing: str
    column: str
    role: str
    privilege: str

    def grant(self) -> str:
        """Return the statement that gives it."""
        return f"GRANT {self._what()} TO {self.role}"

    def revoke(self) -> str:
        """Return the statement that takes it away."""
        return f"REVOKE {self._what()} FROM {self.role}"

    def _what(self) -> str:
        column = f' ("{self.column}")' if self.column else ""
        return f'{self.privilege}{column} ON {self.kind} "{self.thing}"'


def mend(connection: Connection) -> list[str]:
    """Bring roles, rights and walls to what roles.py says; return the statements that it took.

    Raises StoreUnfit, with what to do, where this login may not make the roles.
    """
    done = _make_roles(connection)
    for statement in missing(connection):
        connection.exec_driver_sql(statement)
        done.append(statement)
    return done


def missing(connection: Connection) -> list[str]:
    """Return the statements that would bring rights and walls to what roles.py says; none: nothing differs."""
    schema = str(connection.scalar(text("SELECT current_schema()")))
    wanted, given = set(_wanted(schema)), {Right(*row) for row in connection.execute(text(ACLS))}
    return [
        *(right.revoke() for right in sorted(given - wanted)),
        *(right.grant() for right in sorted(wanted - given)),
        *_row_walls(connection),
    ]


def _wanted(schema: str) -> Iterable[Right]:
    for kind, rights in (("TABLE", RIGHTS), ("SEQUENCE", SEQUENCES), ("FUNCTION", FUNCTIONS)):
        for thing, by_role in rights.items():
            for role, said in by_role.items():
                for privilege, columns in RIGHT.findall(said):
                    for column in columns.split(", "):
                        yield Right(kind, thing, column, role, privilege)
    for role in Role:
        yield Right("SCHEMA", schema, "", role, "USAGE")


def _row_walls(connection: Connection) -> Iterable[str]:
    held: dict[str, set[str]] = {}
    for table, policy in connection.execute(
        text("SELECT tablename, policyname FROM pg_policies WHERE schemaname = current_schema()")
    ):
        held.setdefault(table, set()).add(policy)
    tables = {
        row.relname: row
        for row in connection.execute(
            text(
                "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, quote_ident(pg_get_userbyid(c.relowner)) AS owner,"
                " p.relname AS parent FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
                " LEFT JOIN pg_class p ON p.oid = i.inhparent"
                " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
            )
        )
    }
    for name, row in tables.items():
        if row.parent in PARTITIONED and not row.relrowsecurity:  # no policy, no rights: only by way of the parent
            yield f'ALTER TABLE "{name}" ENABLE ROW LEVEL SECURITY'
    for table, seen in walled().items():
        row = tables[table]
        if not (row.relrowsecurity and row.relforcerowsecurity):
            yield f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'
        policies = _policies(table, seen, row.owner)
        yield from (f'DROP POLICY "{name}" ON "{table}"' for name in sorted(held.get(table, set()) - set(policies)))
        yield from (policies[name] for name in sorted(set(policies) - held.get(table, set())))


def _policies(table: str, seen: str | None, owner: str) -> Mapping[str, str]:
    """Return by name what a table's policies are; a name carries the digest of what it stands for."""
    whole = [role for role in RIGHTS[table] if role is not Role.TENANT]
    rules = [("whole", f"TO {', '.join([*whole, owner])} USING (true) WITH CHECK (true)")]
    if seen is not None and Role.TENANT in RIGHTS[table]:
        rules.append(("own", f"TO {Role.TENANT} USING ({seen}) WITH CHECK ({seen})"))
    named = {f"{kind}_{sha256(rule.encode()).hexdigest()[:8]}": rule for kind, rule in rules}
    return {name: f'CREATE POLICY "{name}" ON "{table}" {rule}' for name, rule in named.items()}


def _make_roles(connection: Connection) -> list[str]:
    """Make the group roles, and let this login take them, so that `up` may run as the owner of the schema."""
    known = set(connection.scalars(text(f"SELECT rolname FROM pg_roles WHERE rolname IN ({ROLES})")))
    done = []
    for role in Role:
        if role not in known:
            _make_role(connection, role)
            done.append(f"CREATE ROLE {role} NOLOGIN")
        if not connection.scalar(text(f"SELECT pg_has_role(current_user, '{role}', '{takes(connection)}')")):
            done += _join(connection, f"GRANT {role} TO CURRENT_USER")
    sees = text(f"SELECT pg_has_role('{Role.OPERATOR}', 'pg_read_all_stats', 'USAGE')")
    if not connection.scalar(sees):  # of connections and long transactions; without it `doctor` sees its own alone
        done += _join(connection, f"GRANT pg_read_all_stats TO {Role.OPERATOR}")
    return done


def takes(connection: Connection) -> str:
    """Return what pg_has_role calls the right to take a role: from 16 on, a member may be without it."""
    return "SET" if int(str(connection.scalar(text("SHOW server_version_num")))) >= 160_000 else "MEMBER"


def _make_role(connection: Connection, role: Role) -> None:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", "")
        if state in ("42710", "23505"):  # another database's migration made it meanwhile
            return
        if state == "42501":
            raise StoreUnfit(NO_ROLES) from error
        raise


def _join(connection: Connection, statement: str) -> list[str]:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError:
        return []  # gateways and workers have logins of their own; whoever lacks the role hears of it at its start
    return [statement]


NO_ROLES = (
    "The database login may not make the roles that keep tenants apart inside PostgreSQL. Have an administrator run: "
    + " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in Role)
    + " and then migrate again. Or set TENANTRY_DATABASE_ROLES=false to do without walls inside the database:"
    " docs/database.md says what is lost."
)
