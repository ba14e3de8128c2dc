-- The roles and logins of a deployment. Run it once with psql, as an administrator, then database.sql and `tenantry migrate`:
--   SECRETS=/folder/of/passwords psql -f logins.sql -f database.sql
-- The passwords are read from files in that folder, so that none is on a command line: owner_password, gateway_password,
-- work_password, backup_password. What each role may do is in docs/database.md.
\set ON_ERROR_STOP on
\set owner_password `cat "$SECRETS/owner_password"`
\set gateway_password `cat "$SECRETS/gateway_password"`
\set work_password `cat "$SECRETS/work_password"`
\set backup_password `cat "$SECRETS/backup_password"`

-- Group roles, which nobody logs in with; each transaction takes one.
CREATE ROLE tenantry_accept NOLOGIN;
CREATE ROLE tenantry_tenant NOLOGIN;
CREATE ROLE tenantry_operator NOLOGIN;
CREATE ROLE tenantry_worker NOLOGIN;
GRANT pg_read_all_stats TO tenantry_operator; -- doctor sees connections and long transactions of others too

-- Who migrates; then those who work, who have no right of their own.
CREATE ROLE tenantry_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tenantry_gateway LOGIN NOINHERIT PASSWORD :'gateway_password';
CREATE ROLE tenantry_work LOGIN NOINHERIT PASSWORD :'work_password';
GRANT tenantry_accept, tenantry_tenant, tenantry_operator TO tenantry_gateway;
GRANT tenantry_worker, tenantry_operator TO tenantry_work;

-- Who dumps: reads all rows past the walls between tenants, and changes nothing.
CREATE ROLE tenantry_backup LOGIN BYPASSRLS PASSWORD :'backup_password';
GRANT pg_read_all_data TO tenantry_backup;
