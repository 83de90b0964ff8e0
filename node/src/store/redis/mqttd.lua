#!lua name=LIBRARY
-- The steps of the Store that have to be atomic. Each is registered as `LIBRARY_NAME`; node/src/store/redis/functions.rs calls them.
--
-- All keys of a call are in one slot. `now` is the caller's, in ms; what must never come twice (epochs, sequences) is taken from the
-- clock of Redis, in microseconds: a Session that was purged leaves nothing else to count on from.
--
-- A Session is the hash `s`:
--   e   epoch                               n   the node that owns it; '' while it has no connection
--   x   expiry in ms; '': never             d   '1': it has a queue and subscriptions
--   w   will, encoded                       wd  its delay in ms
--   h   last sequence that may have been sent by an earlier connection
--   r   last sequence that was read by this one
--   i   the highest number of a message that this Client has published
-- and while it has no connection:
--   t   when it ends                        wa  when its will is due
--   ek  when its end is next to be looked at: later than `t` while somebody has the lease on it
--   wk  the same of its will; absent too when the will goes with the end
-- Wills that are to be published now are in the hash `wills`, beside the Session, for it may end: under the epoch of their connection
-- until when somebody has the lease (16 digits in ms), and the will.
-- Numbers stay below 2^53, so that Lua's doubles are exact.

-- `redis.call` does not exist yet when the library is loaded.
local function call(...)
  return redis.call(...)
end

local function int(number)
  return string.format('%.0f', number)
end

local function micros()
  local time = call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function load(s)
  local f = call('HMGET', s, 'e', 'n', 'x', 'd', 'w', 'wd', 'h', 'r', 't', 'wa', 'ek', 'wk', 'i')
  if not f[1] then return nil end
  local function number(text) return text and tonumber(text) end
  return {
    epoch = f[1], node = f[2], expiry = f[3], durable = f[4] == '1', will = f[5], delay = number(f[6]) or 0,
    sent = number(f[7]) or 0, handed = number(f[8]) or 0, ends = number(f[9]), will_at = number(f[10]),
    end_key = number(f[11]), will_key = number(f[12]), number = number(f[13]) or 0,
  }
end

-- The Session, if this epoch is its newest and it has a connection.
local function owned(s, epoch)
  local it = load(s)
  return it and it.epoch == epoch and it.node ~= '' and it or nil
end

-- When the Session is next to be looked at; false: never.
local function look_at(it)
  local next = it.end_key
  if it.will_key and (not next or it.will_key < next) then next = it.will_key end
  return next and int(next) or false
end

-- Writes the fields that have a value and removes the others.
local function put(s, fields)
  local set, gone = {}, {}
  for name, value in pairs(fields) do
    if value then
      set[#set + 1] = name
      set[#set + 1] = type(value) == 'number' and int(value) or value
    else
      gone[#gone + 1] = name
    end
  end
  if #set > 0 then call('HSET', s, unpack(set)) end
  if #gone > 0 then call('HDEL', s, unpack(gone)) end
end

-- The last sequence that was given to a message.
local function last_sequence(queue)
  if call('EXISTS', queue) == 0 then return 0 end
  local about = call('XINFO', 'STREAM', queue)
  for place = 1, #about, 2 do
    if about[place] == 'last-generated-id' then return tonumber(string.sub(about[place + 1], 3)) end
  end
  return 0
end

-- keys: queue; args: floor
-- Sequences of the queue go on above the floor, never back; 1: they had to be moved. Redis may have lost its last messages with their sequences,
-- and Clients know the Packet Identifiers that were made of those.
local function resync(keys, args)
  local last = last_sequence(keys[1])
  if last == 0 or last >= tonumber(args[1]) then return 0 end
  call('XSETID', keys[1], '0-' .. args[1])
  return 1
end

-- Does `name key ... item item ...` for many items: Lua cannot unpack them all at once.
local function in_parts(items, from, work)
  for first = from, #items, 1000 do
    work(unpack(items, first, math.min(first + 999, #items)))
  end
end

-- A will is to be published by the caller, or by another when it does not come to that.
local function owe(wills, epoch, will, leased_until)
  call('HSET', wills, epoch, string.format('%016.0f', leased_until) .. will)
end

-- Until when somebody has the lease on the will of this epoch, and the will; nothing: it is not owed.
local function owed(wills, epoch)
  local found = call('HGET', wills, epoch)
  if not found then return nil end
  return tonumber(string.sub(found, 1, 16)), string.sub(found, 17)
end

-- Entries of a queue that share groups get back when its Session ends, so many at most: those whose grant names a group. What was granted
-- QoS 2 and may have been sent is no other member's [MQTT-4.8.2-5].
local LEFT_MAX = 10000
local function left_by(it, queue)
  local left = {}
  for _, entry in ipairs(call('XRANGE', queue, '-', '+', 'COUNT', LEFT_MAX)) do
    local flags, sequence = string.byte(entry[2][2], 2), tonumber(string.sub(entry[1], 3))
    local is_shared = math.floor(flags / 64) % 2 == 1
    if is_shared and not (flags % 4 == 2 and sequence <= math.max(it.sent, it.handed)) then left[#left + 1] = entry[2][2] end
  end
  return left
end

local function is_member(selectors)
  for _, selector in ipairs(selectors) do
    if string.byte(selector) ~= 0 then return true end
  end
  return false
end

-- keys: s queue rel in2 subs once wills; args: node clean expiry will delay now lease-until full
-- nothing where Redis is full and a Client without a Session wants one that lasts; else epoch, was owned, epoch before, due will, resumed, then what is resumed (subscriptions, received with what is pending, released, sent) or
-- the ended selectors and what share groups get back.
local function open(keys, args)
  local s, queue, rel, in2, subs, once, wills = unpack(keys)
  local node, clean, expiry, will, delay, now = args[1], args[2] == '1', args[3], args[4], args[5], tonumber(args[6])
  local old = load(s)
  if not old and args[8] == '1' and expiry ~= '0' then return false end
  local was_owned, resumed = false, false
  local due = old and old.will or false
  if old then
    was_owned = old.node ~= ''
    -- A Session with an expiry of zero ends with its connection, which ends here.
    local ended = was_owned and old.expiry == '0' or not was_owned and old.ends and old.ends <= now
    resumed = not clean and not ended
    -- A delayed will is void when the Session goes on, unless its delay has passed and nobody has published it.
    local void = was_owned and old.delay > 0 or not was_owned and not (old.will_at and old.will_at <= now)
    if resumed and void then due = false end
  end
  if due then owe(wills, old.epoch, due, tonumber(args[7])) end
  -- Above all numbers too: those of this connection begin with its epoch.
  local epoch = math.max(micros(), old and tonumber(old.epoch) + 1 or 0, old and old.number + 1 or 0)
  local reply = { int(epoch), was_owned and 1 or 0, old and old.epoch or false, due, resumed and 1 or 0 }
  local fields = { e = epoch, n = node, x = expiry, w = false, wd = false, t = false, wa = false, ek = false, wk = false }
  if will ~= '' then fields.w, fields.wd = will, delay end
  if resumed then
    local sent = was_owned and math.max(old.sent, old.handed) or old.sent
    fields.h, fields.r = sent, sent
    reply[6] = call('HGETALL', subs)
    reply[7] = call('HGETALL', in2)
    reply[8] = call('ZRANGE', rel, 0, -1)
    reply[9] = int(sent)
  else
    reply[6] = old and old.durable and call('HKEYS', subs) or {}
    reply[7] = is_member(reply[6]) and left_by(old, queue) or {}
    local base = math.max(epoch, old and old.durable and last_sequence(queue) + 1 or 0)
    if old then call('UNLINK', s, queue, rel, in2, subs, once) end
    fields.d = expiry == '0' and '0' or '1'
    if expiry ~= '0' then
      fields.h, fields.r = base, base
      call('XADD', queue, 'MAXLEN', '=', 0, '0-' .. int(base), 'm', '')
    end
  end
  put(s, fields)
  return reply
end

-- keys: s queue rel in2 subs once wills; args: epoch keep_will expiry sent now will_waits lease-until
-- ended, the will when it is due at once, when to look at the Session again; nothing for one that is not its owner.
local function close(keys, args)
  local s, queue, rel, in2, subs, once, wills = unpack(keys)
  local it = owned(s, args[1])
  if not it then return false end
  local keep, expiry, sent, now, leased = args[2] == '1', args[3], tonumber(args[4]), tonumber(args[5]), tonumber(args[7])
  local will = keep and it.will
  -- What began with an expiry of zero cannot be made to last at its end (section 3.14.2.2.2).
  if it.expiry == '0' or not it.durable or expiry == '0' then
    if will then owe(wills, it.epoch, will, leased) end
    call('UNLINK', s, queue, rel, in2, subs, once)
    return { 1, will, will and int(leased) or false }
  end
  local fields = { n = '', x = expiry }
  if sent > it.sent then fields.h = math.max(it.sent, math.min(sent, last_sequence(queue))) end
  it.end_key = expiry ~= '' and now + tonumber(expiry) or nil
  fields.t, fields.ek = it.end_key, it.end_key
  local delay = math.max(it.delay, tonumber(args[6]) or 0)
  local at_once = will and delay == 0
  if will and not at_once then
    local at = now + delay
    if not it.end_key or at < it.end_key then it.will_key = at end
    fields.wk, fields.wa = it.will_key, it.will_key or it.end_key
  else
    fields.w, fields.wd = false, false
  end
  if at_once then owe(wills, it.epoch, will, leased) end
  put(s, fields)
  return { 0, at_once and will, at_once and int(leased) or look_at(it) }
end

-- keys: s subs wills; args: epoch now lease-until
-- What of a Session without a connection is due, leased to the caller, and when to look at it again.
local function due(keys, args)
  local it = load(keys[1])
  local now, later = tonumber(args[2]), tonumber(args[3])
  local leased, owed_will = owed(keys[3], args[1])
  if leased and leased <= now then
    owe(keys[3], args[1], owed_will, later)
    return { 'will', int(later), owed_will }
  end
  -- Somebody publishes the will: what else is due of the Session waits for it.
  if leased then return { 'wait', int(leased) } end
  if not it or it.epoch ~= args[1] then return { 'gone' } end
  if it.node ~= '' then return { 'owned' } end
  local found
  if it.will_key and it.will_key <= now then
    it.will_key = later
    -- The end has to wait for who publishes the will, or it would be published twice.
    if it.end_key and it.end_key <= now then it.end_key = later end
    found = { 'will', look_at(it), it.will }
  elseif it.end_key and it.end_key <= now then
    if it.will_key then
      it.end_key = it.will_key
      found = { 'wait', look_at(it) }
    else
      it.end_key = later
      found = { 'end', look_at(it), it.will, call('HKEYS', keys[2]) }
    end
  else
    return { 'wait', look_at(it) }
  end
  put(keys[1], { wk = it.will_key or false, ek = it.end_key or false })
  return found
end

-- keys: s wills; args: epoch
-- When to look at the Session again (false: never); nothing when it was not this epoch's.
local function will_done(keys, args)
  local it = load(keys[1])
  local was_owed = call('HDEL', keys[2], args[1]) == 1
  if not it or it.epoch ~= args[1] or it.node ~= '' then return was_owed and { false } end
  if was_owed then return { look_at(it) } end
  local fields = { w = false, wd = false, wa = false }
  if it.will_key then
    fields.wk = false
    it.will_key, it.end_key = nil, it.ends
    fields.ek = it.ends
  end
  put(keys[1], fields)
  return { look_at(it) }
end

-- keys: s queue rel in2 subs once; args: epoch
local function purge(keys, args)
  local it = load(keys[1])
  if not it or it.epoch ~= args[1] or it.node ~= '' then return 0 end
  call('UNLINK', unpack(keys))
  return 1
end

-- keys: s subs; args: epoch selector value selector value ...
local function subscribe(keys, args)
  local it = owned(keys[1], args[1])
  if not it or not it.durable then return 0 end
  in_parts(args, 2, function(...) call('HSET', keys[2], ...) end)
  return 1
end

-- keys: s subs; args: epoch selector selector ...
local function unsubscribe(keys, args)
  if not owned(keys[1], args[1]) then return 0 end
  in_parts(args, 2, function(...) call('HDEL', keys[2], ...) end)
  return 1
end

-- keys: s in2; args: epoch highest-number packet-id pending packet-id pending ...
-- What is pending is kept with its Packet Identifier; '' when nothing is.
local function receive(keys, args)
  local it = owned(keys[1], args[1])
  if not it or not it.durable then return 0 end
  if tonumber(args[2]) > it.number then call('HSET', keys[1], 'i', args[2]) end
  in_parts(args, 3, function(...) call('HSET', keys[2], ...) end)
  return 1
end

-- keys: in2; args: packet-id number packet-id number ...
-- Nothing is pending there any more, if it was what has this number: eight bytes behind the version.
local function settle(keys, args)
  for place = 1, #args, 2 do
    local pending = call('HGET', keys[1], args[place])
    if pending and string.sub(pending, 2, 9) == args[place + 1] then call('HSET', keys[1], args[place], '') end
  end
  return 1
end

-- keys: s in2; args: epoch packet-id packet-id ...
local function forget(keys, args)
  if not owned(keys[1], args[1]) then return 0 end
  in_parts(args, 2, function(...) call('HDEL', keys[2], ...) end)
  return 1
end

-- keys: queue rel; args: sequence sequence ...
-- What was in the queue is only owed its PUBREL from now on, in the order of the calls.
local function release(keys, args)
  local last = call('ZRANGE', keys[2], -1, -1, 'WITHSCORES')
  local order = math.max(micros(), last[2] and tonumber(last[2]) + 1 or 0)
  for _, sequence in ipairs(args) do
    if call('XDEL', keys[1], '0-' .. sequence) == 1 then
      call('ZADD', keys[2], int(order), sequence)
      order = order + 1
    end
  end
  return 1
end

-- keys: due; args: member, score ('': away with it), the score that was seen ('': whatever it is). When it has another, somebody knows better.
-- A function only because a plain ZADD is refused when memory is at its bound, and no will may be lost by that.
local function index(keys, args)
  if args[3] ~= '' and tonumber(call('ZSCORE', keys[1], args[1]) or -1) ~= tonumber(args[3]) then return 0 end
  if args[2] == '' then return call('ZREM', keys[1], args[1]) end
  return call('ZADD', keys[1], args[2], args[1])
end

-- The name of a stream entry's field is when it expires, in ms; `m`: never.
local function has_expired(entry, now)
  local at = tonumber(entry[2][1])
  return at and at <= now
end

-- keys: s queue; args: epoch up-to
-- This connection reads the queue up to a sequence: what of that is there now may have been sent from here on. The last sequence that an earlier
-- connection may have sent, and up to where it is noted; nothing for who has no such Session. The messages themselves are read beside it by a
-- plain XRANGE: for Lua to take them in and give them out again costs four times as much.
local function hand(keys, args)
  local f = call('HMGET', keys[1], 'e', 'd', 'n', 'h', 'r')
  if f[1] ~= args[1] or f[2] ~= '1' then return false end
  local newest = call('XREVRANGE', keys[2], '+', '-', 'COUNT', 1)[1]
  local handed = newest and math.min(tonumber(string.sub(newest[1], 3)), tonumber(args[2])) or 0
  if handed > tonumber(f[5] or 0) and f[3] ~= '' then call('HSET', keys[1], 'r', int(handed)) end
  return { f[4] or '0', int(handed) }
end

-- Removes what has expired among the oldest messages that nobody has read, and says how much. A few of them: their payloads come along.
local function sweep(queue, it, now)
  local ids = {}
  for _, entry in ipairs(call('XRANGE', queue, '(0-' .. int(math.max(it.sent, it.handed)), '+', 'COUNT', 16)) do
    if has_expired(entry, now) then ids[#ids + 1] = entry[1] end
  end
  if #ids > 0 then call('XDEL', queue, unpack(ids)) end
  return #ids
end

-- keys: s queue; args: now messages-max field message field message ...
-- For a queue that may be near its bound: how many fit, and how many expired ones made room; nothing when there is no such queue.
local function append(keys, args)
  local it, now = load(keys[1]), tonumber(args[1])
  if not it or not it.durable or it.node == '' and it.ends and it.ends <= now then return false end
  local room = tonumber(args[2]) - call('XLEN', keys[2])
  local wanted, swept = (#args - 2) / 2, 0
  if room < wanted then
    swept = sweep(keys[2], it, now)
    room = room + swept
  end
  local fits = math.max(0, math.min(room, wanted))
  for place = 3, fits * 2 + 2, 2 do
    call('XADD', keys[2], 'NOMKSTREAM', '0-*', args[place], args[place + 1])
  end
  return { fits, swept }
end

-- The last numbers are kept so long in us, and of so many publishers.
local ONCE_KEPT = 3600 * 1000000
local ONCE_PUBLISHERS_MAX = 4096

local function note_number(once, publisher, number)
  if call('ZADD', once, int(number), publisher) == 1 then
    -- Numbers go with the time, so the lowest have been silent for longest.
    call('ZREMRANGEBYSCORE', once, '-inf', int(micros() - ONCE_KEPT))
    local over = call('ZCARD', once) - ONCE_PUBLISHERS_MAX
    if over > 0 then call('ZREMRANGEBYRANK', once, 0, over - 1) end
  end
  call('PEXPIRE', once, int(ONCE_KEPT / 1000))
end

-- keys: s queue once; args: now messages-max publisher number field message number field message ...
-- Adds what is not there yet: what has a higher number than all before of this publisher, or none (0). How many that were, how many of them
-- fitted, and how many expired ones made room; nothing when there is no such queue.
local function append_once(keys, args)
  local queue, once, publisher = keys[2], keys[3], args[3]
  if call('EXISTS', queue) == 0 then return false end
  local last = tonumber(call('ZSCORE', once, publisher) or 0)
  local new, highest = {}, last
  for place = 4, #args, 3 do
    local number = tonumber(args[place])
    if number == 0 or number > last then new[#new + 1] = place end
    highest = math.max(highest, number)
  end
  if #new == 0 then return { 0, 0, 0 } end
  local room, swept = tonumber(args[2]) - call('XLEN', queue), 0
  if room < #new then
    local it = load(keys[1])
    swept = it and sweep(queue, it, tonumber(args[1])) or 0
    room = room + swept
  end
  local fits = math.max(0, math.min(room, #new))
  for index = 1, fits do
    call('XADD', queue, 'NOMKSTREAM', '0-*', args[new[index] + 1], args[new[index] + 2])
  end
  if highest > last then note_number(once, publisher, highest) end
  return { #new, fits, swept }
end

-- Removes retained messages whose time is over; a call does a bounded part of it.
local function sweep_retained(keys, now)
  local topics = call('ZRANGE', keys[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
  if #topics > 0 then
    call('HDEL', keys[1], unpack(topics))
    call('ZREM', keys[2], unpack(topics))
    call('ZREM', keys[3], unpack(topics))
  end
  return #topics
end

-- keys: h z x; args: now topic message expires-at('' never) retained-max
-- 1: kept, 0: there is no room; and how many had expired.
local function retain(keys, args)
  local expired = sweep_retained(keys, args[1])
  local topic, expires = args[2], args[4]
  local is_new = call('HEXISTS', keys[1], topic) == 0
  if is_new and call('HLEN', keys[1]) >= tonumber(args[5]) then return { 0, expired } end
  call('HSET', keys[1], topic, args[3])
  if is_new then call('ZADD', keys[2], 0, topic) end
  if expires ~= '' then
    call('ZADD', keys[3], expires, topic)
  elseif not is_new then
    call('ZREM', keys[3], topic)
  end
  return { 1, expired }
end

-- keys: h z x; args: now topic ('': only what has expired)
local function unretain(keys, args)
  local topic = args[2]
  if topic ~= '' and call('HDEL', keys[1], topic) == 1 then
    call('ZREM', keys[2], topic)
    call('ZREM', keys[3], topic)
  end
  return sweep_retained(keys, args[1])
end

-- The context of a request: until when somebody claims it (16 digits), the part of its answer that was begun and the one that is done
-- (8 digits each), then what the node needs.
-- keys: request; args: now until parts
-- the context when it is the caller's until then, behind '1' when somebody had it before and did not finish, else behind '0'; 1: somebody
-- else has it; 2: not so many parts are done; nothing: it has ended
local function claim_request(keys, args)
  local old = call('GET', keys[1])
  if not old then return nil end
  local claimed = tonumber(string.sub(old, 1, 16))
  if claimed > tonumber(args[1]) then return 1 end
  if tonumber(args[3]) > tonumber(string.sub(old, 25, 32)) then return 2 end
  call('SETRANGE', keys[1], 0, string.format('%016.0f', tonumber(args[2])))
  return (claimed > 0 and '1' or '0') .. string.sub(old, 33)
end

-- keys: request; args: now part again('1': whoever began it has not ended in time)
-- the context when the caller may forward that part, behind '1' when somebody had begun it, else behind '0'; 1: somebody else did; 2: one
-- before it is not done; nothing: it has ended
local function part_of_request(keys, args)
  local old, part, begun_before = call('GET', keys[1]), tonumber(args[2]), '0'
  if not old then return nil end
  if tonumber(string.sub(old, 1, 16)) > tonumber(args[1]) then return 1 end
  if part > 0 then
    local begun, done = tonumber(string.sub(old, 17, 24)), tonumber(string.sub(old, 25, 32))
    if part <= done or part <= begun and args[3] ~= '1' then return 1 end
    if part > done + 1 then return 2 end
    if part <= begun then begun_before = '1' end
    call('SETRANGE', keys[1], 16, string.format('%08.0f', part))
  end
  return begun_before .. string.sub(old, 33)
end

-- keys: request; args: part
local function part_done(keys, args)
  if call('EXISTS', keys[1]) == 1 then call('SETRANGE', keys[1], 24, string.format('%08.0f', tonumber(args[1]))) end
  return 1
end

-- A function only because a plain PUBLISH is not refused when memory is at its bound: nobody works on what is refused.
-- keys: request; args: channel json
local function tell_request(_, args)
  return call('PUBLISH', args[1], args[2])
end

-- The bridge to Pub/Sub (bridge.rs). One ear in the cluster hears what Redis clients publish; `token` names an ear, and only it is subscribed to
-- the channel `stem token`.
-- keys: keeper; args: token stem ttl begins
-- 'still': it was the keeper all the time since it began; 'begun': it is from here on, which 'begin' on its channel marks; 'other': another
-- one is, or it has lost its place; 'free': nobody is, but the caller does not listen at this server
local function bridge_keep(keys, args)
  local token, stem = args[1], args[2]
  local keeper = call('GET', keys[1])
  if keeper == token then
    -- Its own word shows that it hears. In a Cluster it has to be here, where what is sent out is marked.
    if call('PUBLISH', stem .. token, '') == 0 then
      call('DEL', keys[1])
      return 'other'
    end
    call('PEXPIRE', keys[1], args[3])
    return 'still'
  end
  if args[4] ~= '1' then return 'other' end
  -- A keeper whose connection is gone hears nothing more.
  if keeper and call('PUBLISH', stem .. keeper, '') > 0 then return 'other' end
  if call('PUBLISH', stem .. token, 'begin') == 0 then return 'free' end
  call('SET', keys[1], token, 'PX', args[3])
  return 'begun'
end

-- Publishes, and tells the keeper before that so many messages are the cluster's own: nothing comes between.
-- keys: keeper; args: stem, then channel and payload of each
local function bridge_send(keys, args)
  local keeper = call('GET', keys[1])
  if keeper then call('PUBLISH', args[1] .. keeper, int((#args - 1) / 2)) end
  for at = 2, #args, 2 do call('PUBLISH', args[at], args[at + 1]) end
  return 1
end

-- `allow-oom`: these free memory, or must not fail when there is none left.
local function register(name, callback, flags)
  redis.register_function { function_name = 'LIBRARY_' .. name, callback = callback, flags = flags or {} }
end

register('open', open)
register('close', close, { 'allow-oom' })
register('due', due, { 'allow-oom' })
register('will_done', will_done, { 'allow-oom' })
register('purge', purge, { 'allow-oom' })
register('subscribe', subscribe)
register('unsubscribe', unsubscribe, { 'allow-oom' })
register('receive', receive)
register('settle', settle, { 'allow-oom' })
register('forget', forget, { 'allow-oom' })
register('release', release, { 'allow-oom' })
register('resync', resync, { 'allow-oom' })
register('index', index, { 'allow-oom' })
register('hand', hand, { 'allow-oom' })
register('append', append)
register('append_once', append_once)
register('retain', retain)
register('unretain', unretain, { 'allow-oom' })
register('claim_request', claim_request, { 'allow-oom' })
register('part_of_request', part_of_request, { 'allow-oom' })
register('part_done', part_done, { 'allow-oom' })
register('tell_request', tell_request)
register('bridge_keep', bridge_keep, { 'allow-oom' })
register('bridge_send', bridge_send, { 'allow-oom' })
