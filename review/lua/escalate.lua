#!lua flags=allow-oom
-- escalate: leave a claimed task to those who lead.
-- ARGV: event_id, token, note
-- Returns {'ok'} or the refusal of held(). O(log n).
local id, token, note = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
leave(id, state)
state.note = { by = state.lease.holder, text = note, at = now }
state.lease = nil
state.lead = true
state.version = state.version + 1
enter(id, state)
return { 'ok' }
