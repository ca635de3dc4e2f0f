-- What a job is asked to do is a specification of its kind: restores to all targets are of
-- one kind, and say the snapshot and whether they are dry runs beside the target; uploads
-- are a kind of their own, and so is what comes of them. A quotation mark within a text of
-- JSON stands behind a backslash, so that what is replaced here is never part of one.

ALTER TABLE jobs RENAME COLUMN work TO spec;

-- {"restore":{"snapshot":S,"target":T,…}} becomes
-- {"restore":{"snapshot":S,"dry_run":D,"target":{"directory":{"directory":T,…}}}}.
-- A snapshot's id has 64 digits.
UPDATE jobs SET spec =
    '{"restore":{"snapshot":"' || substr(spec, 25, 64) || '","dry_run":' ||
    CASE WHEN spec LIKE '%"dry_run":true%' THEN 'true' ELSE 'false' END ||
    ',"target":{"directory":{"directory":' ||
    replace(replace(substr(spec, 100),
        ',"dry_run":true', ''),
        ',"dry_run":false', '') || '}}'
WHERE spec LIKE '{"restore":{"snapshot":"%';

UPDATE jobs SET spec =
    '{"restore":{"snapshot":"' || substr(spec, 31, 64) || '","dry_run":' ||
    CASE WHEN spec LIKE '%"dry_run":true%' THEN 'true' ELSE 'false' END ||
    ',"target":{"redis":{' ||
    replace(replace(substr(spec, 97),
        ',"dry_run":true', ''),
        ',"dry_run":false', '') || '}}'
WHERE spec LIKE '{"restore-redis":{"snapshot":"%';

UPDATE jobs SET spec =
    '{"restore":{"snapshot":"' || substr(spec, 34, 64) || '","dry_run":' ||
    CASE WHEN spec LIKE '%"dry_run":true%' THEN 'true' ELSE 'false' END ||
    ',"target":{"postgres":{' ||
    replace(replace(replace(replace(replace(replace(replace(substr(spec, 100),
        ',"to":"', ',"as":"'),
        ',"globals":', ',"roles":'),
        ',"all":', ',"all_databases":'),
        ',"counts_only":true', ',"verify":"counts"'),
        ',"counts_only":false', ''),
        ',"dry_run":true', ''),
        ',"dry_run":false', '') || '}}'
WHERE spec LIKE '{"restore-postgres":{"snapshot":"%';

-- How the log is replayed moves out of the target, behind it.
UPDATE jobs SET spec =
    '{"restore":{"snapshot":"' || substr(spec, 33, 64) || '","dry_run":' ||
    CASE WHEN spec LIKE '%"dry_run":true%' THEN 'true' ELSE 'false' END ||
    ',"target":{"cluster":{"directory":' ||
    CASE WHEN spec LIKE '%,"recovery":{%'
        THEN replace(replace(replace(substr(spec, 108),
            ',"recovery":{', '}},"recovery":{'),
            ',"dry_run":true', ''),
            ',"dry_run":false', '')
        ELSE replace(replace(substr(spec, 108),
            ',"dry_run":true', ''),
            ',"dry_run":false', '') || '}}'
    END
WHERE spec LIKE '{"restore-cluster":{"snapshot":"%';

UPDATE jobs SET kind = 'upload' WHERE spec LIKE '{"upload":%';
UPDATE job_reports SET result = '{"upload":' || substr(result, 11)
WHERE result LIKE '{"backup":%'
  AND job_id IN (SELECT id FROM jobs WHERE kind = 'upload');
