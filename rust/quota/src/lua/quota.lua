-- One operation on one user's account: everything of it, or nothing.
--
-- KEYS[1]  state: "<epoch> <sequence>"; for probe a key of its own
-- KEYS[2]  leases in flight: a sorted set of lease id -> end of its life, in Unix milliseconds
-- KEYS[3]  the record of the lease: "g <amount> ..." while it is granted, "e" once it has ended; for set the list of notes
-- KEYS[4...]  counters. All keys have one hash tag, hence one slot of a cluster.
--
-- ARGV[1]  "reserve", "settle", "extend", "read", "restore", "reopen", "set" or "probe"
-- ARGV[2]  the epoch that the caller last saw here, or 0 if it never did;  ARGV[3]  the sequence it last saw
-- ARGV[4]  the lease's id; for set the note
-- ARGV[5]  milliseconds a lease in flight lives without being extended
-- ARGV[6]  milliseconds its record is kept after this call
-- ARGV[7]  "open" if the lease is in flight until it is settled, else ""
-- ARGV[8]  reserve: the most leases in flight, or "" for any number
--          settle: "sure" if the caller knows that the lease has not ended, else "": matters only where its record is gone
-- and for each counter six more: limit ("" for none), amount (reserve, reopen: to take; settle: used in the end; restore: the
-- least it may say; set: what it is to say), taken (settle: what the caller knows was taken), the second at which its bucket
-- begins, the second at which it ends, and the second after which Redis may forget it
--
-- reply  { verdict, now in Unix milliseconds, epoch, sequence, leases in flight, count of counter 1, ... }; the counts as they
--        are now, those of set as they were
-- verdict  0 done; n > 0: counter n is full and nothing was taken; -1: too many leases in flight, nothing was taken;
--          -2: a bucket is not the current one; -3: the store has older data than the caller saw; -4: the lease had ended
--
-- Redis does not roll back a script that fails halfway, so whatever can fail is looked at before the first write. Numbers are
-- exact up to 2^53, and tostring writes large ones as "1e+15": hence MOST and whole. While a slot of a cluster moves to another
-- node, a command on a key that is missing fails, also inside a script: so no key is touched after it may have been emptied.

local DONE, CROWDED, MOVED, OLDER, ENDED = 0, -1, -2, -3, -4
local ARGUMENTS, FIRST_KEY = 6, 3
local MOST = 999999999999999
local STATE_LIFE_S, NOTES, NOTES_LIFE_S = 8 * 86400, 100, 366 * 86400

local operation = ARGV[1]
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = now_s * 1000 + math.floor(tonumber(time[2]) / 1000)
local epoch, sequence, flying = 0, 0, 0
local counts = {}

local function whole(number)
  return string.format('%d', number)
end

local function argument(counter, place)
  return ARGV[8 + (counter - 1) * ARGUMENTS + place]
end

local function amount(counter, place)
  return math.min(tonumber(argument(counter, place)) or 0, MOST)
end

local function reply(verdict)
  return { verdict, now_ms, epoch, sequence, flying, unpack(counts) }
end

local function count_flying()
  flying = redis.call('ZCOUNT', KEYS[2], '(' .. whole(now_ms), '+inf')
end

if operation == 'probe' then
  redis.call('SET', KEYS[1], '1', 'PX', 1000)
  return reply(DONE)
end

-- Look.

local reserves, settles, reopens = operation == 'reserve', operation == 'settle', operation == 'reopen'
local extends, restores, sets = operation == 'extend', operation == 'restore', operation == 'set'
local reads = operation == 'read'
local seen_epoch, seen_sequence = tonumber(ARGV[2]), tonumber(ARGV[3])
local lease_ms = tonumber(ARGV[5])
local ends_ms, kept_ms = whole(now_ms + lease_ms), whole(tonumber(ARGV[6]))
local opens = ARGV[7] == 'open' and (reserves or reopens or extends)

if not (reserves or settles or reopens or extends or restores or sets or reads) then
  return redis.error_reply('ERR no such operation on a quota account')
end

local state = redis.call('GET', KEYS[1])
if state then
  local first, second = state:match('^(%d+) (%d+)$')
  if not first then
    return redis.error_reply('ERR the state of a quota account is not one')
  end
  epoch, sequence = tonumber(first), tonumber(second)
end

count_flying()

local held, is_current = {}, true
for i = 1, #KEYS - FIRST_KEY do
  local text = redis.call('GET', KEYS[FIRST_KEY + i]) or '0'
  if not (text == '0' or text:match('^%-?[1-9]%d*$')) or #text > 15 then
    return redis.error_reply('ERR the value at a quota key is not a count')
  end
  held[i] = tonumber(text)
  counts[i] = math.max(held[i], 0)
  is_current = is_current and now_s >= amount(i, 4) and now_s < amount(i, 5)
end

local record = nil
if reserves or settles or extends or reopens then
  record = redis.call('GET', KEYS[3])
end

-- Decide. `steps` is what is added to each counter.

if not restores and not reopens and seen_epoch ~= 0 and (epoch ~= seen_epoch or sequence < seen_sequence) then
  return reply(OLDER)
end
if record == 'e' and not reopens or extends and not record then
  return reply(ENDED)
end
-- Before the bucket is looked at: a reservation that is asked for again at midnight was taken from the day before.
if record and (reserves or reopens) then
  return reply(DONE)
end
if (reserves or sets or reads) and not is_current then
  return reply(MOVED)
end
if reads then
  return reply(DONE)
end

local steps = {}

if reserves then
  local most = tonumber(ARGV[8])
  if most and flying >= most then
    return reply(CROWDED)
  end
  for i = 1, #counts do
    local limit = tonumber(argument(i, 1))
    steps[i] = amount(i, 2)
    if limit and steps[i] > 0 and counts[i] + steps[i] > limit then
      return reply(i)
    end
  end
elseif settles and record then
  local taken = record:gmatch('%d+')
  for i = 1, #counts do
    steps[i] = amount(i, 2) - (tonumber(taken()) or 0)
  end
elseif settles and ARGV[8] == 'sure' then
  for i = 1, #counts do
    steps[i] = amount(i, 2) - amount(i, 3)
  end
elseif restores then
  for i = 1, #counts do
    steps[i] = math.max(amount(i, 2) - counts[i], 0)
  end
elseif sets then
  for i = 1, #counts do
    steps[i] = amount(i, 2) - held[i]
  end
end

-- Write.

if settles then
  redis.call('SET', KEYS[3], 'e', 'PX', kept_ms)
  redis.call('ZADD', KEYS[2], 'XX', 0, ARGV[4])
  count_flying()
  redis.call('ZREM', KEYS[2], ARGV[4])
elseif extends then
  redis.call('PEXPIRE', KEYS[3], kept_ms)
elseif reserves or reopens then
  local amounts = { 'g' }
  for i = 1, #counts do
    amounts[i + 1] = whole(amount(i, 2))
  end
  redis.call('SET', KEYS[3], table.concat(amounts, ' '), 'PX', kept_ms)
elseif sets then
  -- The first write of all, so it may fail.
  redis.call('LPUSH', KEYS[3], ARGV[4])
  redis.call('LTRIM', KEYS[3], 0, NOTES - 1)
  redis.call('EXPIRE', KEYS[3], NOTES_LIFE_S)
end

if opens then
  redis.call('ZADD', KEYS[2], ends_ms, ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now_ms))
  redis.call('PEXPIRE', KEYS[2], whole(2 * lease_ms))
  count_flying()
end

for i = 1, #counts do
  local step = math.max(steps[i] or 0, -counts[i])
  if step ~= 0 then
    local count = math.min(held[i] + step, MOST)
    -- At least a second from now: a bucket may be settled after it was forgotten.
    local forget_at_s = math.max(amount(i, 6), now_s + 1)
    redis.call('SET', KEYS[FIRST_KEY + i], whole(count), 'EXAT', whole(forget_at_s))
    if not sets then
      counts[i] = math.max(count, 0)
    end
  end
end

-- An epoch begins with the account, and anew with the first who found it rolled back: so everybody else who saw the old one
-- finds out too, and none of them begins another.
if epoch == 0 or (restores and epoch == seen_epoch) then
  epoch = now_s * 1000000 + tonumber(time[2])
end
sequence = sequence + 1
redis.call('SET', KEYS[1], whole(epoch) .. ' ' .. whole(sequence), 'EX', STATE_LIFE_S)

return reply(DONE)
