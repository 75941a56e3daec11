-- Events that were sent to no execution in particular.
-- place: grows with each; key: JSON, 'null' for none; is_taken: a step has taken it, and it is there for its id only.
create table mail (
    place integer primary key,
    event_id text not null unique,
    name text not null,
    key text not null,
    data blob not null,
    sent_ms integer not null,
    is_taken integer not null default 0
);
create index mail_kept on mail (name, key, place) where not is_taken;
create index mail_sent on mail (sent_ms);

-- Which executions wait for which events; key: '' for any; is_early_too: also for what was sent before.
create table listeners (
    execution integer not null,
    name text not null,
    key text not null,
    is_early_too integer not null,
    primary key (execution, name, key, is_early_too)
) without rowid;
create index listeners_event on listeners (name, key);

-- Executions that waited for an event when it was sent and have not been asked yet, or have not answered.
create table addressees (
    mail integer not null,
    execution integer not null,
    primary key (mail, execution)
) without rowid;
