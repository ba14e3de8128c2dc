-- The database itself: run it as an administrator after logins.sql, and again after a DROP DATABASE, before a restore.
\set ON_ERROR_STOP on
CREATE DATABASE tenantry OWNER tenantry_owner;
REVOKE CONNECT ON DATABASE tenantry FROM PUBLIC; -- other databases of the server may have members of the same roles
GRANT CONNECT ON DATABASE tenantry TO tenantry_gateway, tenantry_work, tenantry_backup;
