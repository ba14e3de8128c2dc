#!/bin/sh
# Makes the secrets of a deployment, once: a file each, below a folder that only its owner can enter.
#   make-secrets.sh FOLDER DATABASE_HOST [QUERY_OF_ITS_URL]
# FOLDER/postgres holds the passwords that postgres/logins.sql gives to the logins. FOLDER/migrate, FOLDER/gateway and
# FOLDER/worker each hold what one kind of process reads by TENANTRY_SECRETS. Other users can read the files themselves,
# so that a container with a user of its own can, when a file is mounted into it; nobody else can enter the folder.
set -eu
folder=$1 host=$2 query=${3:-}
umask 077
mkdir "$folder" # fails where it is there: nothing is ever overwritten, a lost secret key loses every key in the database
umask 022
mkdir "$folder/postgres" "$folder/migrate" "$folder/gateway" "$folder/worker"

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; } # 32 bytes, as TENANTRY_SECRET_KEY wants them
password() { random | tr -d '='; } # fits into a URL as it is
url() { printf 'postgresql://tenantry_%s:%s@%s/tenantry%s' "$1" "$2" "$host" "$query"; }

password > "$folder/postgres/admin_password"
for login in owner gateway work backup; do
    password > "$folder/postgres/${login}_password"
done
url owner "$(cat "$folder/postgres/owner_password")" > "$folder/migrate/TENANTRY_DATABASE_URL"
url gateway "$(cat "$folder/postgres/gateway_password")" > "$folder/gateway/TENANTRY_DATABASE_URL"
url work "$(cat "$folder/postgres/work_password")" > "$folder/worker/TENANTRY_DATABASE_URL"
random > "$folder/gateway/TENANTRY_SECRET_KEY"
cp "$folder/gateway/TENANTRY_SECRET_KEY" "$folder/worker/TENANTRY_SECRET_KEY"
password > "$folder/gateway/TENANTRY_METRICS_TOKEN"
cp "$folder/gateway/TENANTRY_METRICS_TOKEN" "$folder/worker/TENANTRY_METRICS_TOKEN"
echo "made $folder; keep a copy of $folder/gateway/TENANTRY_SECRET_KEY apart from the database's backups"
