#!lua flags=no-writes
-- figures: the queue in numbers.
-- Returns {now, depth, claimed, oldest since or '', leases expired so far, damaged, decided, skips so far, for leads,
-- reserved, facet, count, ...}. A lease that ran out counts as waiting, whether or not it was returned yet.
-- O(log n + facets that are counted).
local now = clock()
local oldest = redis.call('ZRANGE', SINCE, 0, 0, 'WITHSCORES')
local depth = redis.call('ZCARD', WAITING) + redis.call('ZCARD', LEASES) + redis.call('ZCARD', LEADS)
local claimed = redis.call('ZCOUNT', LEASES, '(' .. now, '+inf')
local overdue = redis.call('ZCARD', LEASES) - claimed
local figures = {
  now,
  depth,
  claimed,
  oldest[2] or '',
  (tonumber(redis.call('HGET', COUNTERS, 'expired')) or 0) + overdue,
  redis.call('HLEN', DAMAGED),
  redis.call('ZCARD', DECIDED),
  tonumber(redis.call('HGET', COUNTERS, 'skipped')) or 0,
  redis.call('ZCARD', LEADS),
  redis.call('ZCARD', RESERVED),
}
for _, part in ipairs(redis.call('HGETALL', COUNTS)) do
  figures[#figures + 1] = part
end
return figures
