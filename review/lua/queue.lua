-- Stands before every other script of this folder: the keys, and the words that the scripts share.
--
-- KEYS, the same for every script, all in one hash slot:
--   tasks     hash  event_id -> ReviewTask as JSON, as the worker wrote it
--   state     hash  event_id -> JSON, see below
--   waiting   zset  event_id by score, lowest first: what anybody may claim
--   leads     zset  the same of what only leads may claim: escalated tasks and disagreements
--   leases    zset  event_id by deadline: what somebody holds, or what is reserved for somebody
--   reserved  zset  `reviewer NUL event_id`, all of score 0: what was handed to whom and not yet claimed
--   facets    zset  `facet NUL place NUL event_id`, all of score 0: `waiting` by facet, in the order of claims
--   pictures  hash  perceptual hash -> `handle:how many tasks have it`
--   handles   hash  handle -> perceptual hash
--   likeness  hash  band and its 16 bits of a hash -> handles of the hashes that have them, four bytes each
--   barred    hash  event_id -> JSON array of reviewers who are not given it: they skipped it, or answered it before
--   since     zset  event_id by the time since which it waits for a verdict, claimed or not
--   decided   zset  event_id by the time of its verdict, forgotten after decided_ttl
--   undoable  zset  event_id by the time of its verdict: `tasks` and `state` still have it, for undo_ms
--   damaged   hash  event_id -> why it cannot be shown to anyone
--   counts    hash  facet -> how many tasks of the queue have it, and a few kinds of states (too many once a task and
--                   its state are both lost)
--   counters  hash  token: the last fencing token; expired: leases that ran out; skipped: skips ever
-- Every task of the queue is in exactly one of `waiting`, `leads` and `leases`.
--
-- A state has: reason; since, score (its place: since, less what its priority is worth); expiries; version, which grows
-- with every change to what is asked; facets; pdq (whether its group is a perceptual hash); and, where there are: lease {token, holder, claimed_at, deadline, kind},
-- whose kind is nil, "hold" or "reserved"; note {by, text, at}; lead (only leads may claim it); skips; front (it came
-- back); forced (when a review was demanded); answers, [{reviewer, label (false: cannot tell), token, at}]; decided (the
-- time of its verdict).
--
-- A facet is a letter and a value: o (none: oldest first), l(abel), r(eason), t(axonomy), g(roup: the perceptual hash,
-- or the content's where there is none). Blind tasks have neither label nor reason among them: being found by one would
-- tell what the model said.
--
-- All times are milliseconds of the server's clock.
local TASKS, STATE, WAITING, LEADS, LEASES, RESERVED, FACETS, BARRED, SINCE, DECIDED, UNDOABLE, DAMAGED, COUNTS, COUNTERS =
  unpack(KEYS)
local PICTURES, HANDLES, LIKENESS = unpack(KEYS, 15)
local BANDS = 16
local FRONT = 1e15 -- less for what comes back: before all others, in the same order among each other
local NUL = '\0'

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function decoded(text)
  local fine, value = pcall(cjson.decode, text or '')
  return fine and type(value) == 'table' and value or nil
end

-- The state of a task, or nil where it is lost or unreadable.
local function read_state(id)
  local state = decoded(redis.call('HGET', STATE, id))
  local numbers = state and tonumber(state.since) and tonumber(state.score) and tonumber(state.expiries)
  if numbers and type(state.reason) == 'string' then
    state.facets = state.facets or {} -- an earlier release had none: found in the order by priority alone
    state.version = state.version or 1
    return state
  end
end

local function write_state(id, state)
  redis.call('HSET', STATE, id, cjson.encode(state))
end

-- The member of `facets` for a task at this place. Places are brought above 0, so that they sort as text.
local function facet_member(facet, place, id)
  return facet .. NUL .. string.format('%016.0f', place + 2 * FRONT) .. NUL .. id
end

local function each_facet(id, state, act)
  local front = state.front and FRONT or 0
  act(facet_member('o', state.since - front, id))
  for _, facet in ipairs(state.facets) do
    act(facet_member(facet, state.score - front, id))
  end
end

-- Put a task among those that wait, by its place, or before all others. Its lease ends.
local function enter(id, state, front)
  state.front = front or nil
  write_state(id, state)
  redis.call('ZADD', state.lead and LEADS or WAITING, state.score - (front and FRONT or 0), id)
  if not state.lead then
    each_facet(id, state, function(member)
      redis.call('ZADD', FACETS, 0, member)
    end)
  end
end

-- Take a task out of wherever it waits or is held; `state` may be nil where it is lost.
local function leave(id, state)
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', LEADS, id)
  redis.call('ZREM', LEASES, id)
  if state then
    each_facet(id, state, function(member)
      redis.call('ZREM', FACETS, member)
    end)
    if state.lease then
      redis.call('ZREM', RESERVED, state.lease.holder .. NUL .. id)
    end
  end
end

-- The facets of a task, from its JSON.
local function facets_of(task)
  local facets = { 't' .. task.taxonomy }
  if not task.blind then
    facets[2] = 'r' .. task.reason
    if type(task.label) == 'string' then
      facets[3] = 'l' .. task.label
    end
  end
  local picture = type(task.pdq) == 'string' and task.pdq or task.content_sha256
  if type(picture) == 'string' then
    facets[#facets + 1] = 'g' .. picture
  end
  return facets
end

-- The perceptual hash among a task's facets, or nil.
local function picture_of(state)
  for _, facet in ipairs(state.facets) do
    if string.sub(facet, 1, 1) == 'g' and state.pdq then
      return string.sub(facet, 2)
    end
  end
end

local function band_field(picture, band)
  return string.char(64 + band) .. string.sub(picture, 4 * band - 3, 4 * band)
end

-- Count a task in or out of those that have its perceptual hash. The first brings the hash into the index by bands, the
-- last takes it out. O(1), and in the number of hashes that share 16 bits with it.
local function index_picture(state, by)
  local picture = picture_of(state)
  if not picture then
    return
  end
  local handle, tasks = string.match(redis.call('HGET', PICTURES, picture) or '', '(%d+):(%d+)')
  tasks = (tonumber(tasks) or 0) + by
  if not handle and by > 0 then
    handle = redis.call('HINCRBY', COUNTERS, 'handle', 1)
    redis.call('HSET', HANDLES, handle, picture)
    local packed = struct.pack('>I4', handle)
    for band = 1, BANDS do
      local field = band_field(picture, band)
      redis.call('HSET', LIKENESS, field, (redis.call('HGET', LIKENESS, field) or '') .. packed)
    end
  elseif handle and tasks <= 0 then
    redis.call('HDEL', HANDLES, handle)
    redis.call('HDEL', PICTURES, picture)
    for band = 1, BANDS do
      local field, rest = band_field(picture, band), {}
      local packed = redis.call('HGET', LIKENESS, field) or ''
      for at = 1, #packed, 4 do
        local part = string.sub(packed, at, at + 3)
        if struct.unpack('>I4', part) ~= tonumber(handle) then
          rest[#rest + 1] = part
        end
      end
      if #rest > 0 then
        redis.call('HSET', LIKENESS, field, table.concat(rest))
      else
        redis.call('HDEL', LIKENESS, field)
      end
    end
    return
  end
  if handle then
    redis.call('HSET', PICTURES, picture, handle .. ':' .. tasks)
  end
end

local function count(state, by)
  index_picture(state, by)
  redis.call('HINCRBY', COUNTS, 'r' .. state.reason, by)
  for _, facet in ipairs(state.facets) do
    local kind = string.sub(facet, 1, 1)
    if kind == 'l' or kind == 't' then
      redis.call('HINCRBY', COUNTS, facet, by)
    end
  end
end

-- Take every trace of a task out of the queue, also what a damage left of it.
local function forget(id)
  local state = read_state(id)
  leave(id, state)
  if redis.call('ZREM', SINCE, id) == 1 then
    local task = not state and decoded(redis.call('HGET', TASKS, id))
    if task and type(task.reason) == 'string' and type(task.taxonomy) == 'string' then
      state = { reason = task.reason, facets = facets_of(task), pdq = type(task.pdq) == 'string' or nil }
    end
    if state then
      count(state, -1)
    end
  end
  redis.call('ZREM', UNDOABLE, id)
  redis.call('HDEL', STATE, id)
  redis.call('HDEL', TASKS, id)
  redis.call('HDEL', BARRED, id)
  redis.call('HDEL', DAMAGED, id)
end

-- Leases, holds and reservations that ran out go back to the front; leases are counted. At most 100 a call.
local function return_expired(now)
  for _, id in ipairs(redis.call('ZRANGE', LEASES, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
    local state = read_state(id)
    leave(id, state)
    if state then
      state.expiries = state.expiries + 1
      if state.lease and state.lease.kind == 'reserved' then
        state.lease = nil -- nobody has had it
      end
      enter(id, state, true)
    else
      redis.call('ZADD', WAITING, now - FRONT, id) -- its next claim finds the damage
    end
    redis.call('HINCRBY', COUNTERS, 'expired', 1)
  end
end

-- The state of a task whose last fencing token is `token`, or nil and why it is not the caller's:
-- {'decided'}, {'unknown'} (not in the queue), {'free'} (nobody's) or {'taken', holder}.
-- A lease that ran out still counts while nobody else took the task: the moderator's work is not lost for being slow.
local function held(id, token)
  local state = read_state(id)
  if not state or state.decided then
    return nil, { redis.call('ZSCORE', DECIDED, id) and 'decided' or 'unknown' }
  end
  if not state.lease then
    return nil, { 'free' }
  end
  if state.lease.token ~= tonumber(token) then
    return nil, { 'taken', state.lease.holder }
  end
  return state
end

-- Tokens grow: the clock, or one more than the last. So a token from before a flush never fits a lease from after it.
local function new_token(now)
  local token = math.max((tonumber(redis.call('HGET', COUNTERS, 'token')) or 0) + 1, now)
  redis.call('HSET', COUNTERS, 'token', token)
  return token
end

-- Hold a task under this lease until its deadline, from wherever it is.
local function hold(id, state, lease)
  leave(id, state)
  state.lease = lease
  state.front = nil
  write_state(id, state)
  redis.call('ZADD', LEASES, lease.deadline, id)
  if lease.kind == 'reserved' then
    redis.call('ZADD', RESERVED, 0, lease.holder .. NUL .. id)
  end
end

local function bar(id, reviewer)
  local names = decoded(redis.call('HGET', BARRED, id)) or {}
  names[#names + 1] = reviewer
  redis.call('HSET', BARRED, id, cjson.encode(names))
end

local function is_barred(id, reviewer)
  for _, name in ipairs(decoded(redis.call('HGET', BARRED, id)) or {}) do
    if name == reviewer then
      return true
    end
  end
  return false
end
