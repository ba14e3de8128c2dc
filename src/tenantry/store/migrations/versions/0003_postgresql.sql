-- What a role that does not own the tables may have done for it. Each runs as the owner and checks what it is asked.
CREATE FUNCTION tenantry_first_id(at date) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

CREATE FUNCTION tenantry_partition(mail_table text, week date) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF mail_table NOT IN ('message', 'recipient', 'content', 'event') THEN
        RAISE EXCEPTION '% is no table of mail', mail_table;
    END IF;
    IF (week - date '2024-01-01') % 7 <> 0 THEN
        RAISE EXCEPTION '% is no Monday', week;
    END IF;
    RETURN mail_table || '_' || to_char(week, 'YYYYMMDD');
END
$$;

-- Makes a week of one mail table. False: it is there, or its mail lies in the default partition already, and may stay there.
CREATE FUNCTION tenantry_make_partition(mail_table text, week date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    part text := tenantry_partition(mail_table, week);
    id_column text := CASE mail_table WHEN 'message' THEN 'id' ELSE 'message_id' END;
    taken boolean;
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'SELECT EXISTS (SELECT FROM %I WHERE %I >= %L AND %I < %L)',
        mail_table || '_rest', id_column, tenantry_first_id(week), id_column, tenantry_first_id(week + 7)
    ) INTO taken;
    IF taken THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
        part, mail_table, tenantry_first_id(week), tenantry_first_id(week + 7)
    );
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);  -- whoever asks it directly sees nothing
    RETURN true;
EXCEPTION WHEN duplicate_table THEN  -- made by another process meanwhile
    RETURN false;
END
$$;

-- Drops a week of one mail table; the rows of the messages to keep move to the default partition. False: nothing done.
CREATE FUNCTION tenantry_drop_partition(mail_table text, week date, keep uuid[]) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    part text := tenantry_partition(mail_table, week);
    id_column text := CASE mail_table WHEN 'message' THEN 'id' ELSE 'message_id' END;
BEGIN
    IF to_regclass(part) IS NULL OR week + 7 > current_date THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', mail_table, part);
    IF EXISTS (
        SELECT FROM waiting
        WHERE message_id >= tenantry_first_id(week) AND message_id < tenantry_first_id(week + 7)
        AND NOT message_id = ANY (keep)
    ) THEN
        RAISE EXCEPTION 'mail of % waits', part USING ERRCODE = 'lock_not_available';  -- undone, and tried again
    END IF;
    EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE %I = ANY ($1)', mail_table, part, id_column) USING keep;
    EXECUTE format('DROP TABLE %I', part);
    RETURN true;
END
$$;

-- Whether another tenant holds a domain around this name, or a name inside it; says nothing else of the other.
CREATE FUNCTION tenantry_name_is_near(asked text, around text[], asker uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM identity
        WHERE tenant_id <> asker
        AND (name = ANY (around) OR right(name, length(asked) + 1) IN ('.' || asked, '@' || asked))
    )
$$;

REVOKE ALL ON FUNCTION tenantry_make_partition, tenantry_drop_partition, tenantry_name_is_near FROM PUBLIC;
