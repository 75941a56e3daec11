-- The key under which at most one open execution of a workflow runs.
alter table executions add column key text not null default '';
create index executions_key on executions (workflow_id, key, number) where key != '' and (is_open or ended_ms is null);
