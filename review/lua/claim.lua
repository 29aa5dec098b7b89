#!lua flags=allow-oom
-- claim: give a task to a reviewer, under a new fencing token: what was handed to them first; then, to a lead, what only
-- leads may decide; then the first of the order or the facet asked for.
-- ARGV: reviewer, lease_ms, facet ('' for the order by priority and age), '1' for a lead
-- Passes over what the reviewer skipped or has answered: O(log n + what is passed over), 16 at a time.
-- Returns {'ok', event_id, state JSON, now, task JSON}; {'empty'}; or {'damaged', event_id} for an entry whose task or
-- state is gone: it has left the index for `damaged`, and the caller says so and calls again.
local reviewer, lease_ms, facet, lead = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local CHUNK = 16
local now = clock()
return_expired(now)

-- The first task that `page(offset)` gives and this reviewer may have.
local function first(page)
  local offset = 0
  while true do
    local ids = page(offset)
    for _, id in ipairs(ids) do
      if not is_barred(id, reviewer) then
        return id
      end
    end
    if #ids < CHUNK then
      return nil
    end
    offset = offset + CHUNK
  end
end

local function by_text(key, prefix)
  return function(offset)
    local members =
      redis.call('ZRANGE', key, '[' .. prefix .. NUL, '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', offset, CHUNK)
    for at, member in ipairs(members) do
      members[at] = string.match(member, '([^%z]*)$')
    end
    return members
  end
end

local function by_score(key)
  return function(offset)
    return redis.call('ZRANGE', key, offset, offset + CHUNK - 1)
  end
end

local id = first(by_text(RESERVED, reviewer))
  or (lead and first(by_score(LEADS)))
  or first(facet == '' and by_score(WAITING) or by_text(FACETS, facet))
if not id then
  return { 'empty' }
end
local state, task = read_state(id), redis.call('HGET', TASKS, id)
if not state or not task then
  leave(id, state)
  if facet ~= '' and not state then -- what its facets were is not known: the one that led here is
    for _, member in ipairs(redis.call('ZRANGE', FACETS, '[' .. facet .. NUL, '(' .. facet .. '\1', 'BYLEX')) do
      if string.match(member, '([^%z]*)$') == id then
        redis.call('ZREM', FACETS, member)
      end
    end
  end
  forget(id)
  redis.call('HSET', DAMAGED, id, 'its ' .. (task and 'state' or 'task') .. ' is missing in Valkey')
  return { 'damaged', id }
end
hold(id, state, { token = new_token(now), holder = reviewer, claimed_at = now, deadline = now + lease_ms })
return { 'ok', id, cjson.encode(state), now, task }
