#!lua flags=allow-oom
-- complete: a verdict is durable. Its task leaves the queue and its event_id is remembered for decided_ttl; or it is
-- asked again: a second reviewer where `again` says so, and a lead where the two disagree.
-- ARGV: event_id, token, decided_ttl_ms, undo_ms, label ('' for "cannot tell"), '1' where a second answer is wanted,
--       version or ''
-- Returns {'ok', what next: 'decided', 'second' or 'adjudication'}, {'changed', version} or the refusal of held().
-- What can no longer be undone (it is too long ago, or 2,000 others came since), and event_ids decided long ago, are
-- forgotten on the way, ten a call. O(log n).
local UNDOABLE_AT_MOST = 2000
local id, token, decided_ttl_ms, undo_ms, label, again, version = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
if version ~= '' and tonumber(version) ~= state.version then
  return { 'changed', tostring(state.version) }
end
local answers = state.answers or {}
local lease = state.lease
answers[#answers + 1] = { reviewer = lease.holder, label = label ~= '' and label or false, token = lease.token, at = now }
state.answers = answers
leave(id, state)
state.lease, state.note = nil, nil
local next = 'decided'
if #answers == 1 and again == '1' and not state.lead then
  next = 'second'
elseif #answers == 2 and not state.lead and answers[1].label ~= answers[2].label then
  next = 'adjudication'
end
if next ~= 'decided' then
  bar(id, lease.holder)
  state.version = state.version + 1
  state.lead = next == 'adjudication' or state.lead
  enter(id, state)
  return { 'ok', next }
end
redis.call('ZREM', SINCE, id)
count(state, -1)
state.decided = now
write_state(id, state)
redis.call('ZADD', UNDOABLE, now, id)
redis.call('ZADD', DECIDED, now, id)
for _, old in ipairs(redis.call('ZRANGE', UNDOABLE, '-inf', now - undo_ms, 'BYSCORE', 'LIMIT', 0, 10)) do
  forget(old)
end
local too_many = math.min(10, redis.call('ZCARD', UNDOABLE) - UNDOABLE_AT_MOST)
if too_many > 0 then
  for _, old in ipairs(redis.call('ZRANGE', UNDOABLE, 0, too_many - 1)) do
    forget(old)
  end
end
for _, old in ipairs(redis.call('ZRANGE', DECIDED, '-inf', now - decided_ttl_ms, 'BYSCORE', 'LIMIT', 0, 10)) do
  redis.call('ZREM', DECIDED, old)
end
return { 'ok', next }
