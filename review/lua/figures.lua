#!lua flags=no-writes
-- figures: the queue in numbers.
-- Returns {now, depth, claimed, oldest since or '', leases expired so far, damaged, decided, reason, count, ...}.
-- A lease that ran out counts as waiting, whether or not it was returned yet. O(log n).
local now = clock()
local oldest = redis.call('ZRANGE', SINCE, 0, 0, 'WITHSCORES')
local depth = redis.call('ZCARD', WAITING) + redis.call('ZCARD', LEASES)
local claimed = redis.call('ZCOUNT', LEASES, '(' .. now, '+inf')
local overdue = redis.call('ZCARD', LEASES) - claimed
local expired = (tonumber(redis.call('HGET', COUNTERS, 'expired')) or 0) + overdue
local figures = { now, depth, claimed, oldest[2] or '', expired }
figures[6] = redis.call('HLEN', DAMAGED)
figures[7] = redis.call('ZCARD', DECIDED)
for _, part in ipairs(redis.call('HGETALL', REASONS)) do
  figures[#figures + 1] = part
end
return figures
