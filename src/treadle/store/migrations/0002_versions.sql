-- Registered versions of workflows, whose content is in definitions.
-- place: grows with each registration; the highest of a workflow is the version registered last.
create table versions (
    definition_hash text primary key,
    workflow_id text not null,
    label text not null,
    registered_ms integer not null,
    place integer not null
) without rowid;
create index versions_workflow on versions (workflow_id, place);
