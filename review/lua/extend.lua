#!lua flags=allow-oom
-- extend: hold a task at least for_ms from now on: a heartbeat, and the time that writing a verdict takes.
-- ARGV: event_id, token, for_ms
-- Returns {'ok', event_id, state JSON, now, task JSON} or the refusal of held(). O(log n).
local id, token, for_ms = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
local task = redis.call('HGET', TASKS, id)
if not task then
  return { 'unknown' } -- its next claim finds the damage
end
state.lease.deadline = math.max(state.lease.deadline, now + for_ms)
hold(id, state, state.lease)
return { 'ok', id, cjson.encode(state), now, task }
