-- Stands before every other script of this folder: the keys, and the words that the scripts share.
--
-- KEYS, the same nine for every script, all in one hash slot:
--   tasks     hash  event_id -> ReviewTask as JSON, as the worker wrote it
--   state     hash  event_id -> JSON {reason, since, score, expiries, lease?: {token, holder, claimed_at, deadline}}
--   waiting   zset  event_id by score, lowest first: what may be claimed
--   leases    zset  event_id by deadline: what somebody holds
--   since     zset  event_id by the time since which it waits for a verdict, claimed or not
--   decided   zset  event_id by the time of its verdict, forgotten after decided_ttl
--   damaged   hash  event_id -> why it cannot be shown to anyone
--   reasons   hash  reason -> how many tasks of the queue have it (too many once a task and its state are both lost)
--   counters  hash  token: the last fencing token; expired: leases that ran out
-- Every task of the queue is in exactly one of `waiting` and `leases`.
-- All times are milliseconds of the server's clock.
local TASKS, STATE, WAITING, LEASES, SINCE, DECIDED, DAMAGED, REASONS, COUNTERS = unpack(KEYS)
local FRONT = 1e15 -- less for what comes back: before all others, in the same order among each other

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
    return state
  end
end

local function write_state(id, state)
  redis.call('HSET', STATE, id, cjson.encode(state))
end

-- Take every trace of a task out of the queue, also what a damage left of it.
local function forget(id)
  local known = read_state(id) or decoded(redis.call('HGET', TASKS, id))
  if known and type(known.reason) == 'string' and redis.call('ZREM', SINCE, id) == 1 then
    redis.call('HINCRBY', REASONS, known.reason, -1)
  end
  redis.call('ZREM', SINCE, id)
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', STATE, id)
  redis.call('HDEL', TASKS, id)
  redis.call('HDEL', DAMAGED, id)
end

-- Leases that ran out go back to the front and are counted. At most 100 a call: the rest is for the next one.
local function return_expired(now)
  for _, id in ipairs(redis.call('ZRANGE', LEASES, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do
    local state = read_state(id)
    if state then
      state.expiries = state.expiries + 1
      write_state(id, state)
    end
    redis.call('ZREM', LEASES, id)
    redis.call('ZADD', WAITING, (state and state.score or now) - FRONT, id)
    redis.call('HINCRBY', COUNTERS, 'expired', 1)
  end
end

-- The state of a task whose last fencing token is `token`, or nil and why it is not the caller's:
-- {'decided'}, {'unknown'} (not in the queue), {'free'} (nobody's) or {'taken', holder}.
-- A lease that ran out still counts while nobody else took the task: the moderator's work is not lost for being slow.
local function held(id, token)
  local state = read_state(id)
  if not state then
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

-- Hold a task at least until `deadline`, from wherever it is.
local function hold(id, state, deadline)
  state.lease.deadline = math.max(state.lease.deadline, deadline)
  write_state(id, state)
  redis.call('ZREM', WAITING, id)
  redis.call('ZADD', LEASES, state.lease.deadline, id)
end
