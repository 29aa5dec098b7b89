#!lua flags=allow-oom
-- damage: set a claimed task aside that this reader cannot understand, with its JSON, where everybody can see it.
-- ARGV: event_id, token, why
-- Returns {'ok'} or the refusal of held(). O(log n).
local id, token, why = unpack(ARGV)
local state, refusal = held(id, token)
if not state then
  return refusal
end
local task = redis.call('HGET', TASKS, id)
forget(id)
if task then
  redis.call('HSET', TASKS, id, task)
end
redis.call('HSET', DAMAGED, id, why)
return { 'ok' }
