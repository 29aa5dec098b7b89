#!lua flags=allow-oom
-- erase: every trace of these events leaves the queue, whoever holds them; they are remembered as decided, so that no
-- redelivery brings them back.
-- ARGV: event_ids
-- Returns how many had a task. O(log n) each.
local now = clock()
local erased = 0
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', TASKS, id) == 1 then
    erased = erased + 1
  end
  forget(id)
  redis.call('ZADD', DECIDED, now, id)
end
return erased
