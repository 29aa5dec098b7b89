#!lua flags=no-writes
-- standing: where events stand.
-- ARGV: event_ids
-- Returns one letter each, in order: w(aits or is claimed), d(ecided), u(nknown). O(1) each.
local letters = {}
for at, id in ipairs(ARGV) do
  if redis.call('ZSCORE', SINCE, id) then
    letters[at] = 'w'
  else
    letters[at] = redis.call('ZSCORE', DECIDED, id) and 'd' or 'u'
  end
end
return table.concat(letters)
