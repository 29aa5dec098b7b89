#!lua flags=allow-oom
-- settle: verdicts on these events are known to be durable: their tasks leave the queue, whoever holds them.
-- ARGV: event_ids
-- Returns how many were in the queue. O(log n) each.
local now = clock()
local taken = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZSCORE', SINCE, id) then
    taken = taken + 1
    forget(id)
  end
  redis.call('ZADD', DECIDED, 'NX', now, id)
end
return taken
