-- Every kind of object that a database can hold, with rows where there are any.
COMMENT ON SCHEMA public IS 'the usual one';
CREATE SCHEMA app;
CREATE SCHEMA "odd Schema ""quoted""";
COMMENT ON SCHEMA app IS 'what the shop''s "app" needs; a \ and a new
line';
CREATE EXTENSION hstore SCHEMA public;
CREATE EXTENSION citext SCHEMA app;
CREATE EXTENSION pg_trgm SCHEMA public;
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;

CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'it''s great');
CREATE TYPE app.pair AS (a int, b text);
CREATE DOMAIN app.percent AS numeric(5, 2) DEFAULT 0 CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE app.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE COLLATION app.nice (provider = libc, locale = 'C');

CREATE SEQUENCE app.numbers START 100 INCREMENT 7 CACHE 3 CYCLE MAXVALUE 100000;
SELECT nextval('app.numbers'), nextval('app.numbers');
CREATE SEQUENCE app.untouched;

CREATE TABLE app.customers (
    id int GENERATED ALWAYS AS IDENTITY (START 10) PRIMARY KEY,
    email app.citext UNIQUE NOT NULL,
    name text COLLATE app.nice,
    mood app.mood DEFAULT 'ok',
    discount app.percent,
    spot app.pair,
    tags text[] DEFAULT '{}',
    matrix int[][],
    attributes hstore,
    document jsonb,
    raw json,
    full_name text GENERATED ALWAYS AS (upper(name)) STORED,
    serial bigserial,
    CHECK (length(name) < 100)
);
COMMENT ON COLUMN app.customers.email IS 'lower or UPPER';
INSERT INTO app.customers (email, name, mood, discount, spot, tags, matrix, attributes, document, raw)
SELECT 'User' || n || '@example.org', E'n\t\\' || n, 'it''s great'::app.mood, n % 100, ROW(n, 'x,"y"')::app.pair,
    ARRAY['a b', NULL, '"q"', '{}'], ARRAY[[1, n], [3, NULL]], hstore('k', n::text),
    jsonb_build_object('n', n, 'u', 'ü☃'), '{"a" :  1}'
FROM generate_series(1, 500) n;

CREATE TABLE app.orders (
    customer int NOT NULL REFERENCES app.customers (id) ON DELETE CASCADE DEFERRABLE,
    number int,
    at timestamptz NOT NULL,
    total numeric,
    PRIMARY KEY (number, at)
) PARTITION BY RANGE (at);
CREATE TABLE app.orders_2025 PARTITION OF app.orders FOR VALUES FROM ('2025-01-01Z') TO ('2026-01-01Z');
CREATE TABLE app.orders_2026 PARTITION OF app.orders FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z')
    PARTITION BY HASH (number);
CREATE TABLE app.orders_2026_0 PARTITION OF app.orders_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "odd Schema ""quoted"""."part 2" PARTITION OF app.orders_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.orders_other PARTITION OF app.orders DEFAULT;
INSERT INTO app.orders SELECT 10 + n % 500, n, '2024-06-01Z'::timestamptz + n * interval '1 day', n * 1.10
FROM generate_series(1, 900) n;
CREATE INDEX orders_total ON app.orders (total DESC NULLS LAST) INCLUDE (customer) WHERE total > 5;

CREATE TABLE app.types (
    b bool, bits bit(5), vbits bit varying, y bytea, c char(3), ch "char", v varchar(9), n name,
    i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, num numeric, m money, o oid,
    d date, t time, tz timetz, ts timestamp, tsz timestamptz, i interval,
    p point, l line, s lseg, bx box, pa path, po polygon, ci circle,
    ip inet, net cidr, mac macaddr, mac8 macaddr8, u uuid, x xml,
    tv tsvector, tq tsquery, r int4range, mr int4multirange, fr app.float_range, dr daterange,
    lsn pg_lsn, snap pg_snapshot, jp jsonpath, reg regclass, arr app.mood[], comp app.pair[]
);
INSERT INTO app.types VALUES (
    true, B'10101', B'1', '\x00ff5c0a', 'ab', 'c', E'tab\t', 'nam', -1, 2147483647, -9223372036854775808,
    'NaN', '-Infinity', 12345678901234567890.123456789, 1.23, 42, '4713-01-01 BC', '24:00', '01:02:03+04',
    'infinity', '2026-11-20 12:03:07.123456+00', '1 year -2 mons +3 days -04:05:06.7', '(1,2)', '{1,2,3}',
    '[(0,0),(1,1)]', '(2,2),(1,1)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,1),5>', '::1/64', '10.0.0.0/8',
    '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '00000000-0000-0000-0000-000000000001', '<a>ü</a>',
    'a fat cat', 'fat & (rat | cat)', '[1,5)', '{[1,2),[5,7)}', '[1.5,2.5]', 'empty', '16/B374D848', '10:20:10,14,15',
    '$.a[*] ? (@ > 1)', 'app.customers', '{sad,ok}', ARRAY[(1, 'a')::app.pair]
);
INSERT INTO app.types DEFAULT VALUES;

CREATE UNLOGGED TABLE app.unlogged (a int) WITH (fillfactor = 70);
INSERT INTO app.unlogged VALUES (1), (2);
CREATE TABLE app.parent (a int, note text);
CREATE TABLE app.child (b int) INHERITS (app.parent);
INSERT INTO app.parent VALUES (1, 'p');
INSERT INTO app.child VALUES (2, 'c', 3), (4, E'\\N', 5), (6, NULL, 7), (8, '\.', 9);
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns DEFAULT VALUES;
INSERT INTO app.no_columns DEFAULT VALUES;
CREATE TABLE "odd Schema ""quoted"""."Table with 'quotes', ""double"" and
a line break; -- really" ("Col umn" int, "select" text, "ü" text);
INSERT INTO "odd Schema ""quoted"""."Table with 'quotes', ""double"" and
a line break; -- really" VALUES (1, 'x', 'y');
CREATE TABLE public."-h" (a int);
CREATE TABLE app.shapes (during tstzrange, room int, EXCLUDE USING gist (during WITH &&));
INSERT INTO app.shapes VALUES ('[2026-01-01Z,2026-02-01Z)', 1);
CREATE TABLE app.storage (big text COMPRESSION pglz, s text) WITH (autovacuum_enabled = false);
INSERT INTO app.storage SELECT repeat('x' || n, 3000), n FROM generate_series(1, 20) n;
ALTER TABLE app.storage ALTER COLUMN s SET STATISTICS 500, ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE STATISTICS app.dependent (dependencies, ndistinct) ON customer, total FROM app.orders_2025;
CREATE INDEX trigrams ON app.customers USING gin (name gin_trgm_ops);
CREATE INDEX expression ON app.customers (lower(name), (document ->> 'n'));
ALTER TABLE app.customers CLUSTER ON customers_pkey;
ALTER TABLE app.parent REPLICA IDENTITY FULL;
ALTER TABLE app.child ADD CONSTRAINT positive CHECK (b > 0) NOT VALID;

CREATE VIEW app.happy AS SELECT id, name FROM app.customers WHERE mood = 'it''s great' WITH CHECK OPTION;
CREATE VIEW app.guarded WITH (security_barrier = true) AS SELECT 1 AS one;
CREATE RECURSIVE VIEW app.countdown (n) AS VALUES (3) UNION ALL SELECT n - 1 FROM countdown WHERE n > 0;
CREATE MATERIALIZED VIEW app.totals AS SELECT customer, sum(total) AS total FROM app.orders GROUP BY customer;
CREATE UNIQUE INDEX ON app.totals (customer);
CREATE MATERIALIZED VIEW app.not_yet AS SELECT 1 AS a WITH NO DATA;
CREATE RULE no_change AS ON UPDATE TO app.parent DO INSTEAD NOTHING;

CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    NEW.note := coalesce(NEW.note, '') || ' stamped; $$';
    RETURN NEW;
END $body$;
CREATE FUNCTION app.add(a int, b int DEFAULT 2, VARIADIC more int[] DEFAULT '{}') RETURNS int
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'SELECT a + b';
CREATE FUNCTION app.modern(n int) RETURNS int BEGIN ATOMIC SELECT n + 1; END;
CREATE FUNCTION app.several(OUT a int, OUT b text) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER
    SET search_path = app, pg_temp AS $$ SELECT 1, 'x' $$;
CREATE PROCEDURE app.nothing(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE AGGREGATE app.product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE OPERATOR app.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl, COMMUTATOR = OPERATOR(app.<+>));
CREATE OPERATOR FAMILY app.family USING btree;
CREATE OPERATOR CLASS app.reversed FOR TYPE int USING btree FAMILY app.family AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE CAST (app.pair AS text) WITH INOUT;
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TRIGGER stamp BEFORE INSERT ON app.parent FOR EACH ROW WHEN (NEW.a > 5) EXECUTE FUNCTION app.stamp();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.parent DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION app.stamp();
ALTER TABLE app.parent DISABLE TRIGGER late;
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER watch ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION app.watch();

CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION app.search (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION app.search ALTER MAPPING FOR asciiword WITH app.plain;

CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1', dbname 'x');
CREATE USER MAPPING FOR PUBLIC SERVER remote OPTIONS (user 'u', password 'p');
CREATE FOREIGN TABLE app.passwd (line text) SERVER files OPTIONS (filename '/etc/passwd', format 'text', delimiter E'\x01');
CREATE FOREIGN TABLE app.far_away (a int) SERVER remote OPTIONS (table_name 'nowhere');

CREATE PUBLICATION part FOR TABLE app.parent (a), app.customers WHERE (id > 5) WITH (publish = 'insert');
CREATE PUBLICATION everything FOR ALL TABLES;

CREATE ROLE :role;
ALTER TABLE app.customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.customers FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.customers AS RESTRICTIVE FOR SELECT TO :role USING (name = current_user);
GRANT USAGE ON SCHEMA app TO :role;
GRANT SELECT (id, name), UPDATE (name) ON app.customers TO :role WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION app.add(int, int, int[]) TO :role;
REVOKE EXECUTE ON FUNCTION app.modern(int) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO :role;
ALTER TABLE app.parent OWNER TO :role;
ALTER VIEW app.happy OWNER TO :role;

SELECT lo_from_bytea(200001, '\x00010203'), lo_from_bytea(200002, decode(repeat('ab', 100000), 'hex')), lo_create(200003);
COMMENT ON LARGE OBJECT 200001 IS 'blob';
GRANT SELECT ON LARGE OBJECT 200002 TO :role;
