-- The first schema: turns in commit order, executions for lists, definitions once by hash.
create table definitions (
    hash text primary key,
    document blob not null
) without rowid;

create table executions (
    number integer primary key,
    execution_id text not null unique,
    workflow_id text not null,
    definition_hash text not null,
    status text not null,
    is_open integer not null,
    created_ms integer not null,
    ended_ms integer,
    tags text not null
);
create index executions_open on executions (number) where is_open;
create index executions_workflow on executions (workflow_id, number);

-- cursor: of the turn's last event in the one sequence of all events; format: of the events' bytes.
create table turns (
    cursor integer primary key,
    execution integer not null,
    sequence integer not null,
    count integer not null,
    format integer not null,
    events blob not null,
    checksum blob not null
);
create unique index turns_execution on turns (execution, sequence);
