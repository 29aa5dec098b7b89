#!lua flags=allow-oom
-- release: put a claimed task back into the place it had by its priority and age.
-- ARGV: event_id, token
-- Returns {'ok'} or the refusal of held(). O(log n).
local id, token = unpack(ARGV)
return_expired(clock())
local state, refusal = held(id, token)
if not state then
  return refusal
end
state.lease = nil
write_state(id, state)
redis.call('ZREM', LEASES, id)
redis.call('ZADD', WAITING, state.score, id)
return { 'ok' }
