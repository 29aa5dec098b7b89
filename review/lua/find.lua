#!lua flags=no-writes
-- find: one task of the queue and who holds it, or held it last.
-- ARGV: event_id
-- Returns {'ok', event_id, state JSON, now, task JSON}, {'decided'} or {'unknown'}. O(1).
local id = ARGV[1]
local state, task = read_state(id), redis.call('HGET', TASKS, id)
if state and task and not state.decided then
  return { 'ok', id, cjson.encode(state), clock(), task }
end
return { redis.call('ZSCORE', DECIDED, id) and 'decided' or 'unknown' }
