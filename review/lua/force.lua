#!lua flags=allow-oom
-- force: have an event reviewed whatever became of it: it goes to the front, also where it was decided before.
-- ARGV: event_id, reason, asked_at_ms, task JSON, by, note
-- Returns {'ok', 'added'}, or {'ok', 'waits'} where it is in the queue already: then it moves to the front unless somebody
-- holds it. O(log n).
local id, reason, asked_at, task, by, note = unpack(ARGV)
local now = clock()
return_expired(now)
local state = read_state(id)
local said = { by = by, text = note, at = now }
if state and not state.decided and redis.call('HEXISTS', TASKS, id) == 1 then
  state.note, state.forced = said, now
  state.version = state.version + 1
  if state.lease then
    write_state(id, state)
  else
    leave(id, state)
    enter(id, state, true)
  end
  return { 'ok', 'waits' }
end
forget(id)
redis.call('ZREM', DECIDED, id)
local since = math.min(now, asked_at)
local known = cjson.decode(task)
state = {
  reason = reason,
  since = since,
  score = since,
  expiries = 0,
  version = 1,
  facets = facets_of(known),
  pdq = type(known.pdq) == 'string' or nil,
  note = said,
  forced = now,
}
redis.call('HSET', TASKS, id, task)
redis.call('ZADD', SINCE, since, id)
count(state, 1)
enter(id, state, true)
return { 'ok', 'added' }
