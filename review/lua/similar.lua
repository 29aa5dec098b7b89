#!lua flags=no-writes
-- similar: tasks that wait and whose images look like that of another task.
-- ARGV: event_id, largest distance in bits, how many at most
-- Hashes that share 16 bits in at least one band are compared: of those at a distance of up to 15 bits none is missed,
-- of those at 31 bits one in twelve. Returns {event_id, distance, ...}, nearest first, or {} where the task is not here
-- or has no perceptual hash. O(hashes that share bits with it + what it returns).
local id, farthest, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state = read_state(id)
local picture = state and picture_of(state)
if not picture then
  return {}
end

local ONES = {}
for byte = 0, 255 do
  ONES[byte] = byte % 2 + (ONES[math.floor(byte / 2)] or 0)
end

local function distance(other)
  local bits = 0
  for at = 1, 64, 2 do
    local mine, theirs = tonumber(string.sub(picture, at, at + 1), 16), tonumber(string.sub(other, at, at + 1), 16)
    bits = bits + ONES[bit.bxor(mine, theirs)]
    if bits > farthest then
      return nil -- most are told apart by their first bytes
    end
  end
  return bits
end

local seen, near = {}, {}
for band = 1, BANDS do
  local packed = redis.call('HGET', LIKENESS, band_field(picture, band)) or ''
  for at = 1, #packed, 4 do
    local handle = struct.unpack('>I4', packed, at)
    if not seen[handle] then
      seen[handle] = true
      local other = redis.call('HGET', HANDLES, handle)
      local bits = other and distance(other)
      if bits then
        near[#near + 1] = { bits, other }
      end
    end
  end
end
table.sort(near, function(one, other)
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end)

local found = {}
for _, each in ipairs(near) do
  local prefix = 'g' .. each[2]
  local room = most - #found / 2 + 1 -- the task itself may be among them
  for _, member in ipairs(redis.call('ZRANGE', FACETS, '[' .. prefix .. NUL, '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', 0, room)) do
    local name = string.match(member, '([^%z]*)$')
    if name ~= id and #found < 2 * most then
      found[#found + 1] = name
      found[#found + 1] = each[1]
    end
  end
  if #found >= 2 * most then
    break
  end
end
return found
