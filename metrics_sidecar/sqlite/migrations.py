"""The released steps of the schema, each literally as it was released: no later change of the code changes one."""

_V1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- labelled: has a label of its own in the metrics, decided once, when the model is first seen.
CREATE TABLE models (
    model INTEGER PRIMARY KEY,
    model_id TEXT NOT NULL UNIQUE,
    labelled INTEGER NOT NULL
);

-- error_type and error_log are NULL for a success: they cost nothing then.
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL,
    timestamp_us INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL,
    output_size INTEGER NOT NULL,
    error_type TEXT,
    error_log TEXT
);
CREATE INDEX invocations_by_time ON invocations (timestamp_us);
CREATE INDEX invocations_by_model ON invocations (model, timestamp_us);
CREATE INDEX failures_by_time ON invocations (timestamp_us) WHERE error_type IS NOT NULL;
CREATE INDEX failures_by_model ON invocations (model, timestamp_us) WHERE error_type IS NOT NULL;

CREATE TABLE totals (
    model INTEGER PRIMARY KEY,
    success_count INTEGER NOT NULL,
    failure_count INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL,
    max_latency_us INTEGER NOT NULL,
    last_timestamp_us INTEGER NOT NULL,
    bucket_0 INTEGER NOT NULL, bucket_1 INTEGER NOT NULL, bucket_2 INTEGER NOT NULL, bucket_3 INTEGER NOT NULL,
    bucket_4 INTEGER NOT NULL, bucket_5 INTEGER NOT NULL, bucket_6 INTEGER NOT NULL, bucket_7 INTEGER NOT NULL,
    bucket_8 INTEGER NOT NULL, bucket_9 INTEGER NOT NULL, bucket_10 INTEGER NOT NULL, bucket_11 INTEGER NOT NULL,
    bucket_12 INTEGER NOT NULL, bucket_13 INTEGER NOT NULL, bucket_14 INTEGER NOT NULL, bucket_15 INTEGER NOT NULL,
    bucket_16 INTEGER NOT NULL,
    removed_count INTEGER NOT NULL DEFAULT 0  -- of those counted above: whose rows retention has removed
);
CREATE TABLE error_totals (
    model INTEGER NOT NULL,
    error_type TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (model, error_type)
) WITHOUT ROWID;

-- committed: the last sequence of this producer that is in the ledger; each up to it is accepted or missing.
-- reported: its own counters as it last reported them, so that a report sent again adds nothing.
CREATE TABLE producers (
    producer_id TEXT PRIMARY KEY,
    committed INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    last_seen_us INTEGER NOT NULL,
    reported BLOB NOT NULL
) WITHOUT ROWID;

-- One row, changed by each transaction. What retired producers leave when their accounts go.
CREATE TABLE books (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    commits INTEGER NOT NULL,
    retired_producers INTEGER NOT NULL,
    retired_accepted INTEGER NOT NULL,
    retired_missing INTEGER NOT NULL
);
INSERT INTO books VALUES (1, 0, 0, 0, 0);

CREATE TABLE gaps (
    producer_id TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL
);
CREATE TABLE gateway_counters (
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name, label)
) WITHOUT ROWID;
"""

# Adds to the schema only, no row is written anew; NULL without a trace, which takes one byte of a new row.
_V2 = "ALTER TABLE invocations ADD COLUMN trace_id TEXT;"

# Failures in indexes by their type, so that each can be found; all of them are the types merged. Two seconds for ten
# million rows. Rows that are there already are rolled up later, in slices.
_V3 = """
DROP INDEX failures_by_time;
DROP INDEX failures_by_model;
CREATE INDEX failures_by_type ON invocations (error_type, timestamp_us) WHERE error_type IS NOT NULL;
CREATE INDEX failures_by_model ON invocations (model, error_type, timestamp_us) WHERE error_type IS NOT NULL;


CREATE TABLE rollups_1 (
    bucket INTEGER NOT NULL,  -- its first minute
    model INTEGER NOT NULL,  -- 0: all together
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (bucket, model)
) WITHOUT ROWID;
CREATE TABLE rollups_10 (
    bucket INTEGER NOT NULL,  -- its first minute
    model INTEGER NOT NULL,  -- 0: all together
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (bucket, model)
) WITHOUT ROWID;
CREATE TABLE rollups_60 (
    bucket INTEGER NOT NULL,  -- its first minute
    model INTEGER NOT NULL,  -- 0: all together
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (bucket, model)
) WITHOUT ROWID;
CREATE TABLE rollups_360 (
    bucket INTEGER NOT NULL,  -- its first minute
    model INTEGER NOT NULL,  -- 0: all together
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (bucket, model)
) WITHOUT ROWID;
CREATE TABLE rollups_1440 (
    bucket INTEGER NOT NULL,  -- its first minute
    model INTEGER NOT NULL,  -- 0: all together
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (bucket, model)
) WITHOUT ROWID;
CREATE TABLE rollup_levels (
    level INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,  -- up to this group everything is built
    model INTEGER NOT NULL,
    kept_from INTEGER NOT NULL
);
INSERT INTO rollup_levels VALUES (1, 0, -1, 0), (10, 0, -1, 0), (60, 0, -1, 0), (360, 0, -1, 0), (1440, 0, -1, 0);
CREATE TABLE rollup_progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_id INTEGER NOT NULL,
    older_id INTEGER NOT NULL,
    older_end_id INTEGER NOT NULL
);
INSERT INTO rollup_progress SELECT 1, COALESCE(MAX(id), 0), 0, COALESCE(MAX(id), 0) FROM invocations;
"""

# Rollups that advance in slices of models, and are kept for times of their own.
_V4 = """
ALTER TABLE rollup_levels ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
UPDATE rollup_levels SET until = bucket + level WHERE model >= 0;
ALTER TABLE rollup_progress ADD COLUMN ahead_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN ahead_model INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN rows_from INTEGER NOT NULL DEFAULT 0;
UPDATE rollup_progress SET rows_from = (SELECT kept_from FROM rollup_levels ORDER BY level LIMIT 1);
"""

_V5 = """
ALTER TABLE rollups_1 RENAME TO by_minute;
CREATE TABLE rollups_1 (
    block INTEGER NOT NULL,  -- the first of the ten minutes
    bucket INTEGER NOT NULL,
    model INTEGER NOT NULL,
    success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, latency_us INTEGER NOT NULL,
    min_latency_us INTEGER NOT NULL, max_latency_us INTEGER NOT NULL, last_timestamp_us INTEGER NOT NULL,
    input_size INTEGER NOT NULL, output_size INTEGER NOT NULL,
    errors BLOB,
    sketch BLOB NOT NULL,
    PRIMARY KEY (block, model, bucket)
) WITHOUT ROWID;
INSERT INTO rollups_1 SELECT bucket / 10 * 10, * FROM by_minute;
DROP TABLE by_minute;
CREATE INDEX counts_10 ON rollups_10 (bucket, model, success_count, failure_count);
CREATE INDEX counts_60 ON rollups_60 (bucket, model, success_count, failure_count);
CREATE INDEX counts_360 ON rollups_360 (bucket, model, success_count, failure_count);
CREATE INDEX counts_1440 ON rollups_1440 (bucket, model, success_count, failure_count);
"""

# Which minutes are not added to any more, and how often that was wrong: what was read of them can be kept.
_V6 = """
ALTER TABLE rollup_progress ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_progress ADD COLUMN late_count INTEGER NOT NULL DEFAULT 0;
"""

# More bounds of the latency histogram. A new bucket begins empty: what was counted between the bounds beside it stays
# in the upper one's bucket, so that no cumulative count changes; `later_bounds` says up to which row that is so.
# created_us: when the model's label, or its part of the shared one, began at zero; NULL for models of before.
# overflowed: what was counted under the shared one before the model got its own, and stays there; NULL for nothing.
_V7 = """
ALTER TABLE totals ADD COLUMN bucket_3s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN bucket_4s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN bucket_7500ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN bucket_15s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN bucket_20s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN bucket_45s INTEGER NOT NULL DEFAULT 0;
CREATE TABLE later_bounds (
    bound_us INTEGER PRIMARY KEY,
    after_id INTEGER NOT NULL  -- rows up to this one are counted as if there were no such bound
);
INSERT INTO later_bounds SELECT bound_us, last_id
FROM (SELECT 3000000 AS bound_us UNION VALUES (4000000), (7500000), (15000000), (20000000), (45000000)),
    (SELECT MAX(
        COALESCE((SELECT MAX(id) FROM invocations), 0),
        COALESCE((SELECT SUM(success_count + failure_count) FROM totals), 0)
    ) AS last_id);
UPDATE meta SET value = CAST('[5000,10000,25000,50000,100000,250000,500000,1000000,2000000,2500000,3000000,4000000,'
    || '5000000,7500000,10000000,15000000,20000000,30000000,45000000,60000000,120000000,300000000]' AS BLOB)
WHERE key = 'bucket_bounds_us';
ALTER TABLE models ADD COLUMN created_us INTEGER;
ALTER TABLE models ADD COLUMN overflowed BLOB;
"""

# What is known of the time (msgpack of a `TimeState`); and when producers were last seen is in running time from now
# on, of which there was none before.
_V8 = """
ALTER TABLE books ADD COLUMN time BLOB NOT NULL DEFAULT x'';
UPDATE producers SET last_seen_us = 0;
"""

# Whether a row is a failure, in the indexes of all rows: so successes among many failures are found there, and counted.
# An index of their own would be 16 bytes more of each row, this is 2. Rows that are there take two seconds per million.
# Nothing that was read of settled minutes is kept any more.
_V9 = """
DROP INDEX invocations_by_time;
DROP INDEX invocations_by_model;
CREATE INDEX invocations_by_time ON invocations (timestamp_us, error_type);
CREATE INDEX invocations_by_model ON invocations (model, timestamp_us, error_type);
ALTER TABLE rollup_progress DROP COLUMN settled;
ALTER TABLE rollup_progress DROP COLUMN late_count;
"""

# Records that a release could not read, as they were sent, until one can; and how many there are, in the accounts.
_V10 = """
CREATE TABLE unread_records (
    id INTEGER PRIMARY KEY,
    producer_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    arrived_us INTEGER NOT NULL,
    reason TEXT NOT NULL,
    encoded BLOB NOT NULL
);
ALTER TABLE producers ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN retired_unread INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN unread_dropped INTEGER NOT NULL DEFAULT 0;
"""

# Sums by 10 minutes and by 6 hours go: all that was in them is in those by the minute and by the hour, which were kept
# as long. What the last hour and day have so far, which may be more of some models than of others, is made anew of what
# is smaller. `ahead_…` stay for files in which rows were rolled up for some models only: who writes next does the rest.
# Counts of hours and days need no indexes of their own: of a hundred models they made a count 0.5 ms shorter, of 5.
_V11 = """
DROP INDEX counts_60;
DROP INDEX counts_1440;
DROP TABLE rollups_10;
DROP TABLE rollups_360;
DELETE FROM rollup_levels WHERE level IN (10, 360);
UPDATE rollup_levels SET bucket = bucket / level * level WHERE level > 1;
DELETE FROM rollups_60 WHERE bucket >= (SELECT bucket FROM rollup_levels WHERE level = 60);
DELETE FROM rollups_1440 WHERE bucket >= (SELECT bucket FROM rollup_levels WHERE level = 1440);
ALTER TABLE rollup_levels DROP COLUMN model;
ALTER TABLE rollup_levels DROP COLUMN until;
"""

# Adds to the schema only, no row is written anew; NULL in rows of before. No index: one would be as large as all other
# columns of a row together.
_V12 = "ALTER TABLE invocations ADD COLUMN request_id TEXT;"

# Which rows of other histories are in this one: a bit for each, in chunks of 8192 ids. And how many came so; those that
# came before this version were counted as what a retired producer had sent, and stay so.
_V13 = """
CREATE TABLE IF NOT EXISTS imported (
    store_id TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    ids BLOB NOT NULL,
    PRIMARY KEY (store_id, chunk)
) WITHOUT ROWID;
ALTER TABLE books ADD COLUMN imported INTEGER NOT NULL DEFAULT 0;
"""

# What a call was, where it went and what it used, as far as its gateway told: NULL in rows of before. Columns without
# a type have numbers of words, or texts, and change neither.
_V14 = """
CREATE TABLE words (number INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
ALTER TABLE invocations ADD COLUMN protocol;
ALTER TABLE invocations ADD COLUMN operation;
ALTER TABLE invocations ADD COLUMN streamed INTEGER;
ALTER TABLE invocations ADD COLUMN upstream;
ALTER TABLE invocations ADD COLUMN status_code INTEGER;
ALTER TABLE invocations ADD COLUMN attempts INTEGER;
ALTER TABLE invocations ADD COLUMN fallback_from;
ALTER TABLE invocations ADD COLUMN time_to_first_token_us INTEGER;
ALTER TABLE invocations ADD COLUMN time_per_output_token_us INTEGER;
ALTER TABLE invocations ADD COLUMN input_tokens INTEGER;
ALTER TABLE invocations ADD COLUMN cached_input_tokens INTEGER;
ALTER TABLE invocations ADD COLUMN output_tokens INTEGER;
ALTER TABLE invocations ADD COLUMN reasoning_tokens INTEGER;
ALTER TABLE invocations ADD COLUMN cost_nano_usd INTEGER;
ALTER TABLE invocations ADD COLUMN tags TEXT;  -- a JSON object
ALTER TABLE rollups_1 ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN cost_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN usage_missing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1 ADD COLUMN first_token_sketch BLOB;
ALTER TABLE rollups_1 ADD COLUMN per_token_sketch BLOB;
ALTER TABLE rollups_60 ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN cost_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN usage_missing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_60 ADD COLUMN first_token_sketch BLOB;
ALTER TABLE rollups_60 ADD COLUMN per_token_sketch BLOB;
ALTER TABLE rollups_1440 ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN cost_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN usage_missing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups_1440 ADD COLUMN first_token_sketch BLOB;
ALTER TABLE rollups_1440 ADD COLUMN per_token_sketch BLOB;
-- Of models that any of it is known of; buckets are not cumulated.
CREATE TABLE usage_totals (
    model INTEGER PRIMARY KEY,
    input_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, cost_nano_usd INTEGER NOT NULL, usage_missing INTEGER NOT NULL,
    time_to_first_token_us INTEGER NOT NULL, first_token_1ms INTEGER NOT NULL, first_token_5ms INTEGER NOT NULL,
    first_token_10ms INTEGER NOT NULL, first_token_20ms INTEGER NOT NULL, first_token_40ms INTEGER NOT NULL,
    first_token_60ms INTEGER NOT NULL, first_token_80ms INTEGER NOT NULL, first_token_100ms INTEGER NOT NULL,
    first_token_250ms INTEGER NOT NULL, first_token_500ms INTEGER NOT NULL, first_token_750ms INTEGER NOT NULL,
    first_token_1000ms INTEGER NOT NULL, first_token_2500ms INTEGER NOT NULL, first_token_5000ms INTEGER NOT NULL,
    first_token_7500ms INTEGER NOT NULL, first_token_10000ms INTEGER NOT NULL, first_token_more INTEGER NOT NULL,
    time_per_output_token_us INTEGER NOT NULL, per_token_10ms INTEGER NOT NULL, per_token_25ms INTEGER NOT NULL,
    per_token_50ms INTEGER NOT NULL, per_token_75ms INTEGER NOT NULL, per_token_100ms INTEGER NOT NULL,
    per_token_150ms INTEGER NOT NULL, per_token_200ms INTEGER NOT NULL, per_token_300ms INTEGER NOT NULL,
    per_token_400ms INTEGER NOT NULL, per_token_500ms INTEGER NOT NULL, per_token_750ms INTEGER NOT NULL,
    per_token_1000ms INTEGER NOT NULL, per_token_2500ms INTEGER NOT NULL, per_token_more INTEGER NOT NULL
);
"""

# How long calls waited for room; NULL in rows of before, and of models without a queue.
_V15 = """
ALTER TABLE invocations ADD COLUMN queue_us INTEGER;
ALTER TABLE rollups_1 ADD COLUMN queue_sketch BLOB;
ALTER TABLE rollups_60 ADD COLUMN queue_sketch BLOB;
ALTER TABLE rollups_1440 ADD COLUMN queue_sketch BLOB;
ALTER TABLE usage_totals ADD COLUMN queue_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_1ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_5ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_10ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_25ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_50ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_100ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_250ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_500ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_1000ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_2500ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_5000ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_10000ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_30000ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_60000ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_totals ADD COLUMN queue_more INTEGER NOT NULL DEFAULT 0;
"""


MIGRATIONS = (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12, _V13, _V14, _V15)
"""`MIGRATIONS[n]` brings version n to n + 1. Never change one that was released."""
