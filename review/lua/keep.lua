#!lua flags=allow-oom
-- keep: hold a claimed task for longer, with a note: its holder goes on later. Claiming goes on with other tasks.
-- ARGV: event_id, token, for_ms, note
-- Returns {'ok'} or the refusal of held(). O(log n).
local id, token, for_ms, note = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
local lease = state.lease
state.note = { by = lease.holder, text = note, at = now }
lease.kind, lease.deadline = 'hold', now + for_ms
hold(id, state, lease)
return { 'ok' }
