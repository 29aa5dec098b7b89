#!lua flags=no-writes
-- list: what waits, or waits for leads, first to be claimed first, or what is claimed, first to expire first.
-- ARGV: 'waiting', 'leads' or 'claimed', first and last rank
-- Returns {now, event_id, state JSON or '', ...}. O(log n + what it returns).
local index = ({ waiting = WAITING, leads = LEADS, claimed = LEASES })[ARGV[1]]
local rows = { clock() }
for _, id in ipairs(redis.call('ZRANGE', index, ARGV[2], ARGV[3])) do
  rows[#rows + 1] = id
  rows[#rows + 1] = read_state(id) and redis.call('HGET', STATE, id) or ''
end
return rows
