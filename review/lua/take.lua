#!lua flags=allow-oom
-- take: give one certain task to a reviewer, if it waits for anybody.
-- ARGV: event_id, reviewer, lease_ms
-- Returns {'ok', event_id, state JSON, now, task JSON}, {'taken', holder}, {'barred'}, {'lead'}, {'decided'} or
-- {'unknown'}. O(log n).
local id, reviewer, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = clock()
return_expired(now)
local state, task = read_state(id), redis.call('HGET', TASKS, id)
if not state or not task or state.decided then
  return { redis.call('ZSCORE', DECIDED, id) and 'decided' or 'unknown' }
end
if redis.call('ZSCORE', LEASES, id) then
  return { 'taken', state.lease.holder }
end
if state.lead then
  return { 'lead' }
end
if is_barred(id, reviewer) then
  return { 'barred' }
end
hold(id, state, { token = new_token(now), holder = reviewer, claimed_at = now, deadline = now + lease_ms })
return { 'ok', id, cjson.encode(state), now, task }
