#!lua flags=allow-oom
-- recall: earlier answers to a task that was put anew, so that it is asked for what it was asked for before.
-- ARGV: event_id, answers JSON ([{reviewer, label or false, token, at}])
-- Returns {'ok'}, or {'unknown'} where it does not wait, or has answers already. O(log n).
local id, answers = ARGV[1], cjson.decode(ARGV[2])
local state = read_state(id)
if not state or state.decided or state.lease or state.answers then
  return { 'unknown' }
end
leave(id, state)
state.answers = answers
for _, answer in ipairs(answers) do
  bar(id, answer.reviewer)
end
state.lead = #answers > 1 or state.lead
enter(id, state, state.front)
return { 'ok' }
