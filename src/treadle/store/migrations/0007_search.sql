-- Indexes for searching executions. The tags of the column of executions are the truth; SQLite keeps this table itself.
create table tags (
    name text not null,
    value text not null,
    execution integer not null,
    primary key (name, value, execution)
) without rowid;
create trigger tags_kept after insert on executions when new.tags != '{}' begin
    insert into tags select key, value, new.number from json_each(new.tags);
end;
create trigger tags_dropped after delete on executions when old.tags != '{}' begin
    delete from tags where execution = old.number and (name, value) in (
        select key, value from json_each(iif(json_valid(old.tags), old.tags, '{}')));
end;
insert into tags select has.key, has.value, executions.number
from executions, json_each(iif(json_valid(executions.tags), executions.tags, '{}')) has where has.type = 'text';
create index executions_status on executions (status, number);
drop index executions_open;
create index executions_open on executions (number) where is_open or ended_ms is null;
