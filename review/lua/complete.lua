#!lua flags=allow-oom
-- complete: a verdict is durable, so its task leaves the queue, and its event_id is remembered for decided_ttl.
-- ARGV: event_id, token, decided_ttl_ms
-- Returns {'ok'} or the refusal of held(). Also forgets up to ten event_ids that were decided longer ago. O(log n).
local id, token, decided_ttl_ms = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
forget(id)
redis.call('ZADD', DECIDED, now, id)
for _, old in ipairs(redis.call('ZRANGE', DECIDED, '-inf', now - decided_ttl_ms, 'BYSCORE', 'LIMIT', 0, 10)) do
  redis.call('ZREM', DECIDED, old)
end
return { 'ok' }
