-- Schedules: what was asked for, and how far each has come. The checksum is over all other columns.
create table schedules (
    schedule_id text primary key,
    definition_hash text not null,
    spec blob not null,
    progress blob not null,
    checksum blob not null
) without rowid;
