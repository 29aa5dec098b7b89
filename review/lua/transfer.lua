#!lua flags=allow-oom
-- transfer: reserve a claimed task for another reviewer, whose next claim it is; unclaimed it goes back to the front.
-- ARGV: event_id, token, to, for_ms, note
-- Returns {'ok'}, {'barred'} (they skipped it, or answered it before) or the refusal of held(). O(log n).
local id, token, to, for_ms, note = unpack(ARGV)
local now = clock()
return_expired(now)
local state, refusal = held(id, token)
if not state then
  return refusal
end
if is_barred(id, to) then
  return { 'barred' }
end
state.note = { by = state.lease.holder, text = note, at = now }
leave(id, state)
hold(id, state, {
  token = new_token(now), -- nobody's until it is claimed
  holder = to,
  claimed_at = now,
  deadline = now + for_ms,
  kind = 'reserved',
})
return { 'ok' }
