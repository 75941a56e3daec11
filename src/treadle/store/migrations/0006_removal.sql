-- What was ever given away and is not given again, though the rows that had it may be removed.
-- name: cursor, or number of an execution; value: the highest one.
create table marks (
    name text primary key,
    value integer not null
) without rowid;

create index executions_ended on executions (status, ended_ms, number) where not is_open;
