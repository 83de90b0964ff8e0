#!lua name=LIBRARY
-- What has to be atomic between nodes. Each is registered as `LIBRARY_NAME`; functions.rs calls them, keys.rs tells the keys.
--
-- All keys of a call are in one slot. Every time is that of Redis, in ms; versions begin with its microseconds, so that they stay above
-- all earlier ones when Redis has lost some. Numbers stay below 2^53, so that Lua's doubles are exact.

-- While the library is loaded there is no `redis.call` yet.
local function call(...)
  return redis.call(...)
end

-- The epoch of an owner that has ended is kept for so long, because a late change of it may still be on its way.
local ENDED_KEPT = 60000
-- How many ended ones a change forgets at most: more than the one that it may add.
local ENDED_FORGOTTEN_MAX = 4
-- Dead nodes that nobody cleans up after, told in one beat.
local ORPHANS_MAX = 16

local function int(number)
  return string.format('%.0f', number)
end

local function micros()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now()
  return math.floor(micros() / 1000)
end

-- The routing table -------------------------------------------------------------------------------------------------------------------

-- Keys of a change: table, owners, ended, ver, log. Arguments: owner, epoch, record, length of the log, then what changes.
-- A table has the subscriptions of one owner by their selectors, and in `n` the node that the Session lives and dies with, or ''.

-- Whether the owner has moved on since this epoch.
local function is_stale(keys, args)
  local known = call('HGET', keys[2], args[1])
  return known and tonumber(known) > tonumber(args[2])
end

local function version(ver)
  local known = call('GET', ver)
  if known then return tonumber(known) end
  local first = micros()
  call('SET', ver, int(first))
  return first
end

local function forget_ended(keys, time)
  local old = call('ZRANGEBYSCORE', keys[3], '-inf', time - ENDED_KEPT, 'LIMIT', 0, ENDED_FORGOTTEN_MAX)
  for _, owner in ipairs(old) do
    call('HDEL', keys[2], owner)
    call('ZREM', keys[3], owner)
  end
end

-- Writes the change into the log; answers its version.
local function log(keys, args)
  version(keys[4])
  local next = call('INCR', keys[4])
  call('XADD', keys[5], 'MAXLEN', '~', args[4], int(next) .. '-0', 'c', args[3])
  return next
end

-- Adds or replaces: node or '', then selectors and values in turn.
local function set(keys, args)
  if is_stale(keys, args) then return version(keys[4]) end
  forget_ended(keys, now())
  call('HSET', keys[2], args[1], args[2])
  call('ZREM', keys[3], args[1])
  -- What the Session had on another node ended there.
  if call('HGET', keys[1], 'n') ~= args[5] then call('DEL', keys[1]) end
  call('HSET', keys[1], 'n', args[5])
  for i = 6, #args, 2 do
    call('HSET', keys[1], args[i], args[i + 1])
  end
  return log(keys, args)
end

local function owner_ended(keys, args)
  local time = now()
  call('DEL', keys[1])
  call('HSET', keys[2], args[1], args[2])
  call('ZADD', keys[3], time, args[1])
  forget_ended(keys, time)
end

-- Removes: selectors.
local function unset(keys, args)
  if is_stale(keys, args) then return version(keys[4]) end
  for i = 5, #args do
    call('HDEL', keys[1], args[i])
  end
  if call('HLEN', keys[1]) <= 1 then
    owner_ended(keys, args)
  else
    call('HSET', keys[2], args[1], args[2])
  end
  return log(keys, args)
end

-- Removes everything of the owner; with a node only what the Session has there, whatever its epoch.
local function end_routes(keys, args)
  if args[5] ~= '' then
    if call('HGET', keys[1], 'n') ~= args[5] then return version(keys[4]) end
    local known = call('HGET', keys[2], args[1])
    if known and tonumber(known) > tonumber(args[2]) then args[2] = known end
  elseif is_stale(keys, args) then
    return version(keys[4])
  end
  owner_ended(keys, args)
  return log(keys, args)
end

-- Key: ver. Argument: the highest version seen. Answers the newest version, after moving it on when Redis has lost some: the same version
-- never stands for two changes. All see the gap that this makes in the log, and load the table again.
local function history(keys, args)
  local newest = version(keys[1])
  if newest < tonumber(args[1]) then
    newest = math.max(micros(), tonumber(args[1]) + 1)
    call('SET', keys[1], int(newest))
  end
  return newest
end

-- The nodes ---------------------------------------------------------------------------------------------------------------------------

-- What INFO says by this name, or 0.
local function told(info, name)
  return tonumber(string.match(info, name .. ':(%d+)')) or 0
end

-- Keys: hb, applied, dead, born. Arguments: node, '1' to join, the version of routes that it has applied or ''.
-- Answers whether it is (still) listed; all members with the ms since their last beat and their versions; the dead whose claim has run out;
-- when this truth began ('': it has not, Redis came back empty); how much memory is used, in promille of what may be (0: there is no bound);
-- what time it is.
local function beat(keys, args)
  local time = now()
  if args[2] == '1' then call('SET', keys[4], int(micros()), 'NX') end
  local listed = args[2] == '1' or call('ZSCORE', keys[1], args[1])
  if listed then
    call('ZADD', keys[1], time, args[1])
    if args[3] ~= '' then call('HSET', keys[2], args[1], args[3]) end
  end
  local members = {}
  local scored = call('ZRANGE', keys[1], 0, -1, 'WITHSCORES')
  for i = 1, #scored, 2 do
    members[#members + 1] = scored[i]
    members[#members + 1] = math.max(0, time - tonumber(scored[i + 1]))
    members[#members + 1] = call('HGET', keys[2], scored[i]) or ''
  end
  local orphans = call('ZRANGEBYSCORE', keys[3], '-inf', time, 'LIMIT', 0, ORPHANS_MAX)
  local info = call('INFO', 'memory')
  local most = told(info, 'maxmemory')
  local used = most > 0 and math.floor(told(info, 'used_memory') * 1000 / most) or 0
  return { listed and 1 or 0, members, orphans, call('GET', keys[4]) or '', used, time }
end

-- Keys: hb, applied, dead. Arguments: node, lease in ms, how long the claim lasts in ms. Answers whether it is the caller's to clean up
-- after this node: it is dead, and nobody else is at it.
local function claim(keys, args)
  local time, node = now(), args[1]
  local beaten = call('ZSCORE', keys[1], node)
  local claimed = call('ZSCORE', keys[3], node)
  if beaten then
    if time - tonumber(beaten) <= tonumber(args[2]) then return 0 end
    call('ZREM', keys[1], node)
    call('HDEL', keys[2], node)
  elseif not claimed or tonumber(claimed) > time then
    return 0
  end
  call('ZADD', keys[3], time + tonumber(args[3]), node)
  return 1
end

-- Keys: dead. Arguments: node, how long in ms. The claim lasts so long from now.
local function claim_on(keys, args)
  return call('ZADD', keys[1], 'XX', now() + tonumber(args[2]), args[1])
end

-- Keys: hb, applied, dead. Argument: node. It is no member any more; anybody may clean up what it left.
local function leave(keys, args)
  call('HDEL', keys[2], args[1])
  if call('ZREM', keys[1], args[1]) == 1 then call('ZADD', keys[3], 0, args[1]) end
  return 1
end

-- `allow-oom`: what keeps nodes alive, and what only removes (and tells of it), goes on when Redis is full.
local function register(name, callback, flags)
  redis.register_function{ function_name = 'LIBRARY_' .. name, callback = callback, flags = flags }
end

register('set', set, {})
register('unset', unset, { 'allow-oom' })
register('end', end_routes, { 'allow-oom' })
register('history', history, { 'allow-oom' })
register('beat', beat, { 'allow-oom' })
register('claim', claim, { 'allow-oom' })
register('claim_on', claim_on, { 'allow-oom' })
register('leave', leave, { 'allow-oom' })
