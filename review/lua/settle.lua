#!lua flags=allow-oom
-- settle: verdicts on these events are known to be durable: their tasks leave the queue, whoever holds them, unless a
-- review was demanded after the verdict.
-- ARGV: event_id, given_at_ms, ... two for each event
-- Returns how many left. O(log n) each.
local now = clock()
local left = 0
for at = 1, #ARGV, 2 do
  local id, given_at = ARGV[at], tonumber(ARGV[at + 1])
  local state = read_state(id)
  if not (state and state.forced and state.forced >= given_at) then
    if redis.call('ZSCORE', SINCE, id) then
      left = left + 1
      forget(id)
    end
    redis.call('ZADD', DECIDED, 'NX', now, id)
  end
end
return left
