#!lua flags=allow-oom
-- undo: the last verdict on a task was taken back: it is held again by whoever gave it.
-- ARGV: event_id, reviewer, '1' for a lead, who may take back others' verdicts, lease_ms, undo_ms, '1' to look only
-- Works on tasks that have left, and on those that wait for a second answer or an adjudication and that nobody holds.
-- Returns {'ok', event_id, state JSON, now, task JSON}, {'unknown'}, {'late'}, {'others', reviewer} or {'held', holder}.
-- O(log n).
local id, reviewer, lead, lease_ms, undo_ms, look = unpack(ARGV)
local now = clock()
return_expired(now)
local state, task = read_state(id), redis.call('HGET', TASKS, id)
local answers = state and state.answers or {}
local last = answers[#answers]
if not task or not last then
  return { redis.call('ZSCORE', DECIDED, id) and 'late' or 'unknown' }
end
if last.at <= now - undo_ms then
  return { 'late' }
end
if last.reviewer ~= reviewer and lead ~= '1' then
  return { 'others', last.reviewer }
end
if state.lease then
  return { 'held', state.lease.holder }
end
if look == '1' then
  return { 'ok', id, cjson.encode(state), now, task }
end
answers[#answers] = nil
state.answers = #answers > 0 and answers or nil
if state.decided then
  state.decided = nil
  redis.call('ZREM', UNDOABLE, id)
  redis.call('ZREM', DECIDED, id)
  redis.call('ZADD', SINCE, state.since, id)
  count(state, 1)
else
  leave(id, state)
  local names = {}
  for _, name in ipairs(decoded(redis.call('HGET', BARRED, id)) or {}) do
    if name ~= last.reviewer then
      names[#names + 1] = name
    end
  end
  redis.call('HSET', BARRED, id, cjson.encode(names))
  state.lead = nil
end
state.version = state.version + 1
hold(id, state, { token = new_token(now), holder = last.reviewer, claimed_at = now, deadline = now + lease_ms })
return { 'ok', id, cjson.encode(state), now, task }
