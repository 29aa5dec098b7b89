#!lua flags=allow-oom
-- release: put a claimed task back into the place it had by its priority and age; where asked to, never to be given to
-- its holder again (a skip).
-- ARGV: event_id, token, '1' for a skip
-- Returns {'ok'} or the refusal of held(). O(log n).
local id, token, skip = unpack(ARGV)
return_expired(clock())
local state, refusal = held(id, token)
if not state then
  return refusal
end
if skip == '1' then
  bar(id, state.lease.holder)
  state.skips = (state.skips or 0) + 1
  redis.call('HINCRBY', COUNTERS, 'skipped', 1)
end
leave(id, state)
state.lease = nil
enter(id, state)
return { 'ok' }
