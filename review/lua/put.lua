#!lua
-- put: add tasks, each once. Refused by a server at its memory limit; everything else still works there.
-- ARGV: decided_ttl_ms, then for each task: event_id, reason, asked_at_ms, head_start_ms, task JSON
-- A task's place is fixed here: the time since which it waits, minus the head start that its priority is worth. So
-- waiting counts against priority without anything ever being re-sorted. `asked_at` is the worker's clock and may lie
-- in the past (a rebuilt queue keeps its order), never in the future.
-- Returns one letter a task, in order: a(dded), w(aits or is claimed already), d(ecided already).
-- A task that is there only in part (a partial flush, a damage) is added anew. O(log n) a task.
local now = clock()
local forgotten = now - ARGV[1]
local results = {}
for at = 2, #ARGV, 5 do
  local id, reason, asked_at, head_start, task = unpack(ARGV, at, at + 4)
  local decided_at = redis.call('ZSCORE', DECIDED, id)
  local placed = redis.call('ZSCORE', WAITING, id) or redis.call('ZSCORE', LEASES, id) or redis.call('ZSCORE', LEADS, id)
  if decided_at and tonumber(decided_at) > forgotten then
    results[#results + 1] = 'd'
  elseif placed and redis.call('HEXISTS', TASKS, id) == 1 and read_state(id) then
    results[#results + 1] = 'w'
  else
    forget(id)
    redis.call('ZREM', DECIDED, id)
    local since = math.min(now, asked_at)
    local known = cjson.decode(task)
    local state = {
      reason = reason,
      since = since,
      score = since - head_start,
      expiries = 0,
      version = 1,
      facets = facets_of(known),
      pdq = type(known.pdq) == 'string' or nil,
    }
    redis.call('HSET', TASKS, id, task)
    redis.call('ZADD', SINCE, since, id)
    count(state, 1)
    enter(id, state)
    results[#results + 1] = 'a'
  end
end
return table.concat(results)
