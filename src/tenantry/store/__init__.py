"""The store: tables, migrations and queries on SQLite and PostgreSQL, behind the port of tenantry.ports."""
