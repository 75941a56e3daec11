-- Large values, each once by its content, and which executions have them.
-- hash: BLAKE2b of the value, 32 bytes; encoding: of content, 0 plain, 1 zlib; size: of the value in bytes.
create table payloads (
    number integer primary key,
    hash blob not null unique,
    size integer not null,
    encoding integer not null,
    content blob not null
);

create table payload_uses (
    execution integer not null,
    payload integer not null,
    primary key (execution, payload)
) without rowid;
create index payload_uses_payload on payload_uses (payload);
