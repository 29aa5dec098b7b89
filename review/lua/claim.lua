#!lua flags=allow-oom
-- claim: give the first waiting task to a reviewer, under a new fencing token.
-- ARGV: reviewer, lease_ms
-- Tokens grow: the clock, or one more than the last. So a token from before a flush never fits a lease from after it.
-- Returns {'ok', event_id, state JSON, now, task JSON}; {'empty'}; or {'damaged', event_id} for an entry whose task or
-- state is gone: it has left the index for `damaged`, and the caller says so and calls again. O(log n).
local reviewer, lease_ms = ARGV[1], ARGV[2]
local now = clock()
return_expired(now)
local id = redis.call('ZRANGE', WAITING, 0, 0)[1]
if not id then
  return { 'empty' }
end
local state, task = read_state(id), redis.call('HGET', TASKS, id)
if not state or not task then
  forget(id)
  redis.call('HSET', DAMAGED, id, 'its ' .. (task and 'state' or 'task') .. ' is missing in Valkey')
  return { 'damaged', id }
end
local token = math.max((tonumber(redis.call('HGET', COUNTERS, 'token')) or 0) + 1, now)
redis.call('HSET', COUNTERS, 'token', token)
state.lease = { token = token, holder = reviewer, claimed_at = now, deadline = now + lease_ms }
hold(id, state, now + lease_ms)
return { 'ok', id, cjson.encode(state), now, task }
